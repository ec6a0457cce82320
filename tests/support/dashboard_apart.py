"""The dashboard as a process of its own, with made-up processes behind it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from support.page_broker import FakeBroker
from support.page_host import FakeHost

from hive_wire.paths import Layout
from hive_wire.sockets import connect


@dataclass
class Apart:
    """Can be stopped and killed."""

    layout: Layout
    host: FakeHost
    broker: FakeBroker
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hive_dashboard", "--root", str(self.layout.root),
            "--port", str(self.port), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            assert b"dashboard:" in await self.process.stdout.readline()

    async def kill(self) -> None:
        assert self.process is not None
        self.signal(signal.SIGCONT)
        self.process.kill()
        await self.process.wait()

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    async def link(self, user: str = "damo") -> str:
        peer = await connect(self.layout.dashboard_sock)
        answer = await peer.request("login.issue", {"user": user, "view_only": False})
        peer.close()
        return str(answer["url"])


@asynccontextmanager
async def apart(
    layout: Layout, fill: Callable[[Apart], None] | None = None
) -> AsyncIterator[Apart]:
    """`fill` puts into the processes behind it what is there before it starts."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    host, broker = FakeHost(layout), FakeBroker(layout)
    async with host, broker:
        world = Apart(layout, host, broker, port)
        if fill is not None:
            fill(world)
        await world.start()
        try:
            yield world
        finally:
            await world.kill()
