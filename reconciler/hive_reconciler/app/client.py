"""A caller of the sockets for the command line: blocking, without an event loop."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from hive_wire.frames import FrameError, FrameSplitter, decode, encode
from hive_wire.pages import Listing, read_whole
from hive_wire.paths import Layout
from hive_wire.rpc_errors import UNAVAILABLE

Who = Literal["reconciler", "broker", "gateway", "dashboard"]


class CallFailed(Exception):
    """The other end refused, or is away. The message is for a person."""

    def __init__(self, message: str, code: int = 1, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.data = data


class Client:
    """One connection to a process of a swarm."""

    def __init__(self, layout: Layout, who: Who, timeout: float = 60.0) -> None:
        """Raises CallFailed when nobody listens there."""
        self._who = who
        path = _socket(layout, who)
        self._splitter = FrameSplitter()
        self._lines: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except PermissionError:
            self._socket.close()
            raise CallFailed(f"you may not open {path}: join the group hive, or use sudo") from None
        except OSError:
            self._socket.close()
            raise CallFailed(
                f"the {who} does not run here (nobody listens at {path}); {_cure(layout, who)}",
                UNAVAILABLE,
            ) from None

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, **params: Any) -> Any:
        """The result; what is None is left out of `params`. Raises CallFailed."""
        return self.request(method, {k: v for k, v in params.items() if v is not None})

    def whole(self, listing: Listing, **params: Any) -> Any:
        """The result with the rows of all pages. Raises CallFailed."""
        return read_whole(self.call, listing, **params)

    def request(self, method: str, params: dict[str, Any]) -> Any:
        """The result of `params` as they are. Raises CallFailed."""
        try:
            self._socket.sendall(
                encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
            )
            for message in self._messages():
                if message.get("id") == 1:
                    return _result(message)
        except TimeoutError:
            raise CallFailed(f"the {self._who} did not answer {method} in time") from None
        except FrameError as error:
            raise CallFailed(f"the request or the answer does not fit: {error}") from None
        except OSError as error:
            raise CallFailed(f"the connection to the {self._who} broke: {error}") from None
        raise CallFailed(f"the {self._who} went away before it answered {method}", UNAVAILABLE)

    def wait(self, timeout: float | None) -> bool:
        """True when the other end told something; everything told so far is taken.

        False after `timeout` seconds. Raises CallFailed when the other end goes away.
        """
        ready, _, _ = select.select([self._socket], [], [], timeout)
        if not ready:
            return False
        if not self._socket.recv(1 << 16):
            raise CallFailed(f"the {self._who} went away", UNAVAILABLE)
        return True

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            while self._lines:
                yield decode(self._lines.pop(0))
            data = self._socket.recv(1 << 16)
            if not data:
                return
            self._lines.extend(self._splitter.feed(data))


def _socket(layout: Layout, who: Who) -> Path:
    return {
        "reconciler": layout.host_sock,
        "broker": layout.broker_sock,
        "gateway": layout.gateway_sock,
        "dashboard": layout.dashboard_sock,
    }[who]


def _cure(layout: Layout, who: Who) -> str:
    """What to do about a process that is away: alone, or as its whole swarm is."""
    others = (_socket(layout, other) for other in get_args(Who) if other != who)
    if any(map(_listens, others)):
        log = layout.logs / f"{who}.log"
        where = f"; {log} says why" if os.path.exists(log) else ""
        return f"the rest of its swarm runs, and hive up (or systemd) starts it again{where}"
    try:
        owner = os.stat(layout.root).st_uid
    except FileNotFoundError:
        owner = os.geteuid()
    except OSError as error:
        return f"{layout.root}: {error.strerror}; name another --root, or say it as its user"
    if owner != os.geteuid():
        return f"{layout.root} belongs to another user: say it as that user"
    return (
        f"start it with: hive up --root {layout.root}, or name the root of the swarm that you "
        "mean with --root"
    )


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
        asked.settimeout(1)
        try:
            asked.connect(str(path))
        except OSError:
            return False
    return True


def _result(message: dict[str, Any]) -> Any:
    error = message.get("error")
    if error is None:
        return message.get("result")
    raise CallFailed(str(error.get("message")), int(error.get("code", 1)), error.get("data"))
