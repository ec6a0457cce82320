"""The three pipes of a child process, cut into lines of a bounded length."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

MAX_LINE = 32 << 20  # bytes; a tool's result comes back on one line


class LineTooLong(ValueError):
    """A line grew over MAX_LINE."""


class Lines:
    """Calls `take` with every whole line. Unfinished parts are kept in a list, not copied."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> None:
        """Raises LineTooLong."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = b"".join((*self._parts, whole[0]))
            self._parts, self._held = [], 0
        for line in whole:
            if line:
                self._take(line)
        if rest:
            self._parts.append(rest)
            self._held += len(rest)
        if self._held > MAX_LINE:
            self._parts, self._held = [], 0
            raise LineTooLong(f"the engine printed a line of more than {MAX_LINE >> 20} MiB")


class Pipes(asyncio.SubprocessProtocol):
    """`exited` is set when the process is dead, `read_out` when its stdout ended as well."""

    def __init__(self, stdout: Lines, stderr: Lines, broken: Callable[[str], None]) -> None:
        self._lines = {1: stdout, 2: stderr}
        self._broken = broken
        self._transport: asyncio.SubprocessTransport | None = None
        self.exited = asyncio.Event()
        self.read_out = asyncio.Event()
        self.pid = 0
        self.returncode: int | None = None

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
            stdin.write(data)

    def close_stdin(self) -> None:
        if self._transport is not None:
            stdin = self._transport.get_pipe_transport(0)
            if stdin is not None:
                stdin.close()

    def terminate(self) -> None:
        if self._transport is not None:
            with contextlib.suppress(ProcessLookupError):
                self._transport.terminate()

    def kill(self) -> None:
        if self._transport is not None:
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()

    def close(self) -> None:
        """Let go of the pipes, whoever else holds them."""
        if self._transport is not None:
            self._transport.close()

    # -- asyncio.SubprocessProtocol --------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        try:
            self._lines[fd].feed(data)
        except LineTooLong as error:
            if fd == 1:
                self._broken(str(error))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self.read_out.set()

    def process_exited(self) -> None:
        assert self._transport is not None
        self.returncode = self._transport.get_returncode()
        self.exited.set()
