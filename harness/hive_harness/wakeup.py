"""hive-wake: what any program in the container says becomes a message that wakes its agent.

    hive-wake the build is done          # one message
    tail -f alarms | hive-wake           # one a line

Exit status 0 when all are on disk at the broker, 1 when one is not; stderr says why.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hive_wire.paths import CONTAINER_RUN
from hive_wire.rpc_errors import BUSY, UNAVAILABLE

log = logging.getLogger(__name__)

NAME = "hive-wake"
PATIENCE = 60.0  # seconds in which the broker may be away, or ask for a pause
PAUSE = 0.5
ANSWER_WITHIN = 30.0
_LATER = frozenset({BUSY, UNAVAILABLE})


class Refused(Exception):
    """The broker does not take it; the message says why."""


class NotYet(Exception):
    """Nobody listens, or not now."""


class Bell:
    """One connection to the agent's socket, made anew when it breaks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: socket.socket | None = None
        self._rest = b""

    def ring(self, body: str) -> None:
        """Returns when the message is on disk. Asked again it stays one message.

        Raises Refused.
        """
        params = {"body": body, "key": str(uuid.uuid4())}
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                return self._ask(params)
            except (OSError, NotYet) as error:
                self.close()
                if time.monotonic() > ends:
                    raise Refused(f"not sent: {error or type(error).__name__}") from None
                time.sleep(PAUSE)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream, self._rest = None, b""

    def _ask(self, params: dict[str, Any]) -> None:
        if self._stream is None:
            self._stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._stream.settimeout(ANSWER_WITHIN)
            self._stream.connect(str(self._path))
        request = {"jsonrpc": "2.0", "id": 1, "method": "wake", "params": params}
        self._stream.sendall(json.dumps(request).encode() + b"\n")
        error = json.loads(self._line(self._stream)).get("error")
        if error is None:
            return
        if error.get("code") in _LATER:
            raise NotYet(error.get("message"))
        raise Refused(str(error.get("message")))

    def _line(self, stream: socket.socket) -> bytes:
        while b"\n" not in self._rest:
            data = stream.recv(1 << 16)
            if not data:
                raise NotYet("the broker went away")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def main(argv: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(
        prog=NAME, description="Wakes the agent of this container with a message, or one a line."
    )
    options.add_argument("--run", type=Path, default=CONTAINER_RUN, help=argparse.SUPPRESS)
    options.add_argument("text", nargs="*", help="the message; without it, each line of the input")
    chosen = options.parse_args(argv)
    bell, status = Bell(chosen.run / "harness.sock"), 0
    try:
        for body in _bodies(chosen.text):
            try:
                bell.ring(body)
            except Refused as error:
                print(f"{NAME}: {error}", file=sys.stderr)
                status = 1
    except KeyboardInterrupt:
        return 130
    finally:
        bell.close()
    return status


def _bodies(words: list[str]) -> Iterator[str]:
    if words:
        yield " ".join(words)
        return
    for line in sys.stdin.buffer:
        text = line.decode(errors="replace").strip()
        if text:
            yield text


def install(folder: Path, run: Path) -> None:
    """Put the command into `folder` and that on PATH, for all that is started from here."""
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    try:
        _write(folder, run)
    except OSError as error:
        log.warning("there is no %s: %s", NAME, error)


def _write(folder: Path, run: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    code = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
    command = shlex.join((sys.executable, "-m", "hive_harness.wakeup", "--run", str(run)))
    script = f'#!/bin/sh\nPYTHONPATH={shlex.quote(code)} exec {command} "$@"\n'
    beside = folder / f"{NAME}.new"
    beside.write_text(script)
    beside.chmod(0o755)
    beside.rename(folder / NAME)


if __name__ == "__main__":
    sys.exit(main())
