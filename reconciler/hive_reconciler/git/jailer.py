"""The reconciler's end of the jail: starts it at the first need, and a job at a time in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from . import jail
from .errors import Refused

NOBODY = 65534
MAX_OBJECTS = 5000
MAX_CONTENT = 64 << 20  # bytes of all objects, unpacked
LIMITS = {
    "cpu": 20,  # seconds
    "memory": 512 << 20,  # bytes
    "file": 64 << 20,  # bytes, of one file and of all together
    "bytes": MAX_CONTENT,
    "count": MAX_OBJECTS,
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
        self._starting = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def job(
        self,
        kind: Literal["take", "pack"],
        directory: Path | None,
        objects: Path | None = None,
        gid: int = NOBODY,
    ) -> AsyncIterator[Stream]:
        """A stream to a child of its own, as the head of `jail` says. Raises Refused."""
        request = {
            "job": kind,
            "git": _git(),
            "uid": NOBODY,
            "gid": gid,
            "directory": None if directory is None else str(directory),
            "objects": None if objects is None else str(objects),
            **LIMITS,
        }
        ours, theirs = socket.socketpair()
        with theirs:
            await self._send(json.dumps(request).encode(), theirs)
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            yield Stream(reader, writer)
        finally:
            writer.transport.abort()

    async def close(self) -> None:
        """End it, and with it every job."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            await self._process.wait()
            self._process = None

    async def _send(self, request: bytes, stream: socket.socket) -> None:
        async with self._starting:
            if self._control is not None:
                with contextlib.suppress(OSError):  # it has died: start another
                    socket.send_fds(self._control, [request], [stream.fileno()])
                    return
                await self.close()
            try:
                self._control = await self._start()
                socket.send_fds(self._control, [request], [stream.fileno()])
            except OSError as error:
                raise Refused(f"git cannot be confined here, and does not run: {error}") from None

    async def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-IS", jail.__file__),
                stdin=theirs.fileno(),
                start_new_session=True,
            )
        return ours


def _git() -> str:
    found = shutil.which("git")
    if found is None:
        raise Refused("git is not installed on this host; commits cannot be taken")
    return found
