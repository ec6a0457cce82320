"""The dashboard's feed for a terminal: the same API and the same events as the page has.

Blocking, for a thread of its own; what is read is handed on as one picture.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

LATE = 25.0  # seconds without a ping after which the stream counts as dead; one comes every 10 s
FIRST, LONGEST = 0.25, 10.0  # seconds between two attempts
GATHER = 0.2  # seconds in which changes become one reading
MESSAGES, EVENTS = 60, 200
API = "/api/v1"
BROKEN = (OSError, http.client.HTTPException, ValueError)


class Trouble(Exception):
    """Why nothing comes, for a person."""


@dataclass(frozen=True)
class Picture:
    """What the dashboard said last. `heard` is when it last gave a sign of life, by
    time.monotonic(); `events` are those of the agent `name`."""

    swarm: dict[str, Any] = field(default_factory=dict)
    messages: tuple[dict[str, Any], ...] = ()
    name: str | None = None
    events: tuple[dict[str, Any], ...] = ()
    heard: float | None = None
    trouble: str = ""


class Feed:
    """`link` gives a one-time login link, or raises Trouble; `show` takes each new picture."""

    def __init__(self, link: Callable[[], str], show: Callable[[Picture], None]) -> None:
        self._link = link
        self._show = show
        self._picture = Picture()
        self._agent: str | None = None
        self._ended = threading.Event()
        self._place = ""  # host:port of the dashboard
        self._cookie = ""
        self._stream: http.client.HTTPConnection | None = None
        self._stale = threading.Event()

    def run(self) -> None:
        """Until `end`. Comes back after every trouble."""
        reader = threading.Thread(target=self._read_on, daemon=True)
        reader.start()
        wait = FIRST
        while not self._ended.is_set():
            try:
                if not self._cookie:
                    self._log_in()
                for _ in self._news():
                    wait = FIRST
            except Trouble as trouble:
                self._tell(trouble=str(trouble))
            except BROKEN as error:
                self._tell(trouble=f"the dashboard is away ({type(error).__name__})")
            self._ended.wait(wait)
            wait = min(LONGEST, wait * 2)
        self._stale.set()
        reader.join()
        with contextlib.suppress(*BROKEN):
            if self._cookie:
                self._post("/logout", {})

    def end(self) -> None:
        """Makes `run` return soon, and end its login."""
        self._ended.set()
        stream = self._stream
        if stream is not None and stream.sock is not None:
            with contextlib.suppress(OSError):
                stream.sock.shutdown(2)

    def watch(self, name: str | None) -> None:
        """From now on the pictures have the events of this agent."""
        self._agent = name
        self._stale.set()

    # -- the session -----------------------------------------------------------------------------

    def _log_in(self) -> None:
        url = urlsplit(self._link())
        self._place = url.netloc
        answer = self._post("/login", {"code": url.fragment})
        cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
        if answer.status != 303 or not cookie:
            raise Trouble(f"the dashboard did not log us in ({answer.status})")
        self._cookie = cookie

    def _post(self, path: str, form: dict[str, str]) -> http.client.HTTPResponse:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"http://{self._place}",
            "User-Agent": "hive top",
            "Cookie": self._cookie,
        }
        connection = http.client.HTTPConnection(self._place, timeout=10)
        try:
            connection.request("POST", path, urlencode(form), headers)
            answer = connection.getresponse()
            answer.read()
            return answer
        finally:
            connection.close()

    def _check(self, answer: http.client.HTTPResponse) -> None:
        if answer.status == 401:
            self._cookie = ""
            raise Trouble("the login was ended; trying again")
        if answer.status != 200:
            raise Trouble(_words(answer))

    # -- reading ---------------------------------------------------------------------------------

    def _news(self) -> Iterator[None]:
        """One after each sign of life."""
        self._stream = stream = http.client.HTTPConnection(self._place, timeout=LATE)
        try:
            headers = {"Cookie": self._cookie, "Accept": "application/json"}  # of a refusal
            stream.request("GET", "/events", headers=headers)
            answer = stream.getresponse()
            self._check(answer)
            kind = ""
            while line := answer.readline():
                if line.startswith(b"event: "):
                    kind = line[7:].strip().decode()
                if line != b"\n":
                    continue
                self._tell(heard=time.monotonic(), trouble="")
                if kind in ("changed", "rows"):
                    self._stale.set()
                yield
        finally:
            stream.close()
            self._stream = None

    def _read_on(self) -> None:
        """Read once for all that was told meanwhile, until the end."""
        while True:
            self._stale.wait()
            if self._ended.wait(GATHER):
                return
            self._stale.clear()
            with contextlib.suppress(Trouble, *BROKEN):  # the stream breaks too, and says so
                self._read()

    def _read(self) -> None:
        name = self._agent
        swarm = self._get("/swarm")
        messages = self._get(f"/messages?limit={MESSAGES}").get("messages", ())
        events = ()
        if name is not None:
            events = self._get(f"/agents/{name}/events?limit={EVENTS}").get("events", ())
        self._tell(swarm=swarm, messages=tuple(messages), name=name, events=tuple(events))

    def _get(self, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._place, timeout=20)
        try:
            connection.request("GET", API + path, headers={"Cookie": self._cookie})
            answer = connection.getresponse()
            data = answer.read()
            if answer.status in (404, 503, 504):  # gone, or away: `swarm` says which
                return {}
            self._check(answer)
            found: dict[str, Any] = json.loads(data)
            return found
        finally:
            connection.close()

    def _tell(self, **news: Any) -> None:
        self._picture = replace(self._picture, **news)
        if not self._ended.is_set():
            self._show(self._picture)


def _words(answer: http.client.HTTPResponse) -> str:
    """What the dashboard refuses with."""
    try:
        return str(json.loads(answer.read())["error"])
    except (ValueError, KeyError, TypeError):
        return f"the dashboard answered {answer.status} {answer.reason}"
