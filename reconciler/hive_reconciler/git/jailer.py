"""The reconciler's end of the jail: starts it at the first need, and jobs in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

from . import jail
from .errors import Refused

NOBODY = 65534
_START = (
    "import sys; sys.path.append(sys.argv[1]); from hive_reconciler.git.jail import main; main()"
)
_LATER = 0.05  # seconds
_AHEAD = 1 << 20  # bytes that are taken before they are asked for
MAX_OBJECTS = 6000  # two for each of the files that one proposal may write, and more
MAX_CONTENT = 64 << 20  # bytes of all that a pack holds, inflated
LIMITS = {
    "cpu": 20,  # seconds
    "memory": 512 << 20,  # bytes
    "file": 64 << 20,  # bytes
    "count": MAX_OBJECTS,
    "content": MAX_CONTENT,
}


class Stream:
    """Both directions of one job. Its end is the end of the job."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer


class Jail:
    """One resident process. It ends with `close`, or with this process."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._ready: tuple[bytes, socket.socket] | None = None  # a request, and its stream
        self._starts: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def job(self, kind: Literal["take", "pack"], **given: Any) -> AsyncIterator[Stream]:
        """A stream to a child of its own, as the head of `jail` says. Raises Refused."""
        request = _request(kind, given)
        stream = self._take_ready(request) or await self._child(request)
        reader, writer = await asyncio.open_connection(sock=stream, limit=_AHEAD)
        try:
            yield Stream(reader, writer)
        finally:
            writer.transport.abort()

    def make_ready(self) -> None:
        """Start a child that waits, confined, for the next pack to take: a person waits for the
        next card, and this is a third of a small import. It starts a little later: somebody waits
        for what was taken just now."""
        if self._starts is None or self._starts.done():
            self._starts = asyncio.create_task(self._make_ready())

    async def close(self) -> None:
        """End it, and with it every job."""
        if self._starts is not None:
            self._starts.cancel()
            await asyncio.wait([self._starts])
        await self._end()

    async def _make_ready(self) -> None:
        await asyncio.sleep(_LATER)
        with contextlib.suppress(Refused):  # the next job says why
            request = _request("take", {})
            stream = await self._child(request)
            self._forget_ready()
            self._ready = (request, stream)

    async def _end(self) -> None:
        self._forget_ready()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            await self._process.wait()
            self._process = None

    async def _child(self, request: bytes) -> socket.socket:
        """The stream of a new child. Raises Refused."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                await self._send(request, theirs)
            except BaseException:
                ours.close()
                raise
        return ours

    def _take_ready(self, request: bytes) -> socket.socket | None:
        """The stream of the child that waits, if it waits for this and lives."""
        if self._ready is None or self._ready[0] != request:
            return None
        _, stream = self._ready
        if self._control is None or _heard(self._control, stream):
            self._forget_ready()
            return None
        self._ready = None
        return stream

    def _forget_ready(self) -> None:
        if self._ready is not None:
            self._ready[1].close()
            self._ready = None

    async def _send(self, request: bytes, stream: socket.socket) -> None:
        async with self._starting:
            if self._control is not None:
                with contextlib.suppress(OSError):  # it has died: start another
                    socket.send_fds(self._control, [request], [stream.fileno()])
                    return
                await self._end()
            try:
                self._control = await self._start()
                socket.send_fds(self._control, [request], [stream.fileno()])
            except OSError as error:
                raise Refused(f"commits cannot be read in a jail here: {error}") from None

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-IS", "-c", _START, str(Path(jail.__file__).parents[2])),
                stdin=theirs.fileno(),
                start_new_session=True,
            )
        return ours


def _request(kind: str, given: dict[str, Any]) -> bytes:
    return json.dumps({"job": kind, "uid": NOBODY, "gid": NOBODY, **LIMITS, **given}).encode()


def _heard(*streams: socket.socket) -> bool:
    """Whether another end has closed, or said something."""
    poll = select.poll()
    for stream in streams:
        poll.register(stream, select.POLLIN)
    return bool(poll.poll(0))


def find_git() -> str:
    """Raises Refused."""
    found = shutil.which("git")
    if found is None:
        raise Refused("git is not installed on this host; commits cannot be taken")
    return found
