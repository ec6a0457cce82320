"""The host processes as children: started, logged, started again when they crash, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .plain import line

FIRST_BACKOFF, LAST_BACKOFF = 0.5, 30.0  # seconds
STEADY_AFTER = 60.0  # seconds alive, then the next crash counts as the first
TERM_GRACE = 10.0
MAX_LOG = 10 << 20
PR_SET_PDEATHSIG = 1

Say = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """`name` is for people and for the log file."""

    name: str
    argv: tuple[str, ...]


class Child:
    """One program, kept running until `stop`."""

    def __init__(self, program: Program, log: Path, say: Say) -> None:
        self.program = program
        self._log = log
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Start it, and again after every end, until it is stopped."""
        delay = FIRST_BACKOFF
        while not self._stopping.is_set():
            began = time.monotonic()
            with self._open_log() as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self.program.argv,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for us; we stop them in order
                    preexec_fn=_die_with_parent,
                )
            status = await self._process.wait()
            self._process = None
            if self._stopping.is_set():
                return
            if time.monotonic() - began > STEADY_AFTER:
                delay = FIRST_BACKOFF
            why = await asyncio.to_thread(_last_line, self._log) if status > 0 else ""
            ended = f"{self.program.name} ended ({_status(status)})"
            self._say(f"{ended}{why and ': ' + why}; again in {delay:.1f} s")
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_BACKOFF)

    async def stop(self) -> None:
        """TERM, and KILL after TERM_GRACE seconds."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(TERM_GRACE):
                await process.wait()
        except TimeoutError:
            self._say(f"{self.program.name} did not stop: killed")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _open_log(self) -> BinaryIO:
        if self._log.exists() and self._log.stat().st_size > MAX_LOG:
            self._log.replace(self._log.with_suffix(".log.1"))
        return self._log.open("ab")


_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """In the child: TERM when `hive up` is gone, even by kill -9."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return line(next((text for text in reversed(lines) if text.strip()), "it said nothing"), 200)


def _status(status: int) -> str:
    return f"status {status}" if status >= 0 else signal.Signals(-status).name
