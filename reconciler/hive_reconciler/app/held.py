"""All agents under hold: nothing new is delivered, and every turn has ended."""

from __future__ import annotations

import os
import threading
import time
from types import TracebackType
from typing import Any

from hive_wire.pages import AGENTS
from hive_wire.paths import Layout
from hive_wire.rpc_errors import BUSY

from .client import CallFailed, Client

TTL = 60.0  # seconds; renewed long before
RENEWED = 15.0
PATIENCE = 900.0  # seconds that one turn may go on


class Held:
    """While entered, the holds are renewed by a thread. Raises CallFailed."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._token = f"backup-{os.getpid()}"
        self._over = threading.Event()
        self._renewer = threading.Thread(target=self._renew, daemon=True)
        self._lost: str | None = None

    def __enter__(self) -> Held:
        try:
            self._wait_until_idle()
        except BaseException:
            self._release()
            raise
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._over.set()
        self._renewer.join()
        self._release()
        if kind is None and self._lost is not None:
            raise CallFailed(f"the hold was lost meanwhile ({self._lost}); make the backup again")

    def _wait_until_idle(self) -> None:
        deadline = time.monotonic() + PATIENCE
        told: set[str] = set()
        with self._client() as asking, self._client() as events:
            events.request("subscribe", {"after": None, "stream": False})
            while busy := self._hold_all(asking):
                for name in sorted(busy - told):
                    print(f"waiting for the end of {name}'s turn")
                told |= busy
                if time.monotonic() > deadline:
                    raise CallFailed(
                        f"{', '.join(sorted(busy))} did not end their turns; "
                        "cancel them on the page, or stop the swarm first: hive down"
                    )
                events.wait(RENEWED)

    def _hold_all(self, client: Client) -> set[str]:
        """Hold every agent; the names of those that still do something."""
        busy = set()
        for agent in client.whole(AGENTS)["agents"]:
            try:
                answer: dict[str, Any] = client.call(
                    "hold", uid=agent["uid"], token=self._token, ttl=TTL
                )
            except CallFailed as error:
                if error.code != BUSY:
                    raise
                busy.add(agent["name"])  # the reconciler drains it; that ends
                continue
            if answer["running"] is not None:
                busy.add(agent["name"])
        return busy

    def _renew(self) -> None:
        while not self._over.wait(RENEWED):
            try:
                with self._client() as client:
                    busy = self._hold_all(client)
            except CallFailed as error:
                self._lost = error.message
                return
            if busy:
                self._lost = f"{', '.join(sorted(busy))} went on"
                return

    def _release(self) -> None:
        try:
            with self._client() as client:
                for agent in client.whole(AGENTS)["agents"]:
                    client.call("release", uid=agent["uid"], token=self._token)
        except CallFailed:
            return  # they expire

    def _client(self) -> Client:
        return Client(self._layout, "broker")
