"""Our broker as the bench drives it, and the least that a durable send can cost."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from peers import BODY

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.broker_rig import Harness, Rig, Tools, agent, rig

from hive_wire.jsonrpc import Peer

RECEIVER = "r" * 12
AGENTS = 64


class Hive:
    """broker.sock; each message goes to one of 64 agents and carries a key."""

    durable = "SQLite WAL, synchronous=FULL; yes"
    keys = itertools.count()

    def __init__(self, name: str, hive: Rig, senders: list[Peer], receiver: Harness) -> None:
        assert hive.process is not None
        self.name, self.pid = name, hive.process.pid
        self._senders, self._receiver = senders, receiver
        self._turn = ""

    async def send(self, sender: int) -> None:
        number = next(self.keys)
        to = "receiver" if sender < 0 else f"a{number % AGENTS}"  # too many may not wait for one
        message = {"to": to, "body": BODY, "by": "bench", "key": str(number)}
        await self._senders[sender % len(self._senders)].request("send", message)

    async def receive(self) -> None:
        self._turn = (await self._receiver.granted())["turn"]

    async def settle(self) -> None:
        await self._receiver.end(self._turn)


class HiveTool:
    """What an agent calls: the tool `send` over its mcp.sock, 64 agents at once."""

    name, durable = "hive, the agents' tool over MCP", Hive.durable

    def __init__(self, hive: Rig, tools: list[Tools], receiver: Harness) -> None:
        assert hive.process is not None
        self.pid, self._receiver, self._turn = hive.process.pid, receiver, ""
        self._free = deque(enumerate(tools))

    async def send(self, sender: int) -> None:
        """From whoever has not sent for longest: one agent alone may send 20 a second."""
        number, tools = self._free.popleft()
        to = "receiver" if sender < 0 else f"a{(number + 1) % AGENTS}"
        try:
            await tools.call("send", to=to, body=BODY)
        finally:
            self._free.append((number, tools))

    async def receive(self) -> None:
        self._turn = (await self._receiver.granted())["turn"]

    async def settle(self) -> None:
        await self._receiver.end(self._turn)


@asynccontextmanager
async def hive(where: Path, senders: int) -> AsyncIterator[tuple[Hive, Hive]]:
    """The same broker: all senders on one connection, and each on its own."""
    async with rig(where) as found:
        await found.registry(*_agents())
        receiver = await found.harness(RECEIVER)
        each = [await found.client() for _ in range(senders)]
        one = Hive("hive", found, each[:1], receiver)
        yield one, Hive("hive, a connection each", found, each, receiver)


@asynccontextmanager
async def hive_tool(where: Path) -> AsyncIterator[HiveTool]:
    """A broker of its own: MCP makes the process larger."""
    async with rig(where) as found:
        await found.registry(*_agents())
        tools = [await found.tools(f"{n:012d}") for n in range(AGENTS)]
        yield HiveTool(found, tools, await found.harness(RECEIVER))


def _agents() -> list[dict[str, object]]:
    senders = [agent(f"{n:012d}", f"a{n}") for n in range(AGENTS)]
    unbounded = {"usd_per_day": 1000.0, "turns_per_hour": 10_000}
    return [*senders, agent(RECEIVER, "receiver", budget=unbounded)]


class AppendLog:
    """The limit: what waits is appended to a file with one write and one fdatasync."""

    name, durable, pid = "append and fdatasync", "each batch; yes", 0

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._busy: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()

    async def send(self, sender: int) -> None:
        done = asyncio.get_running_loop().create_future()
        record = {"to": f"a{sender}", "body": BODY, "by": "bench", "key": str(next(Hive.keys))}
        self._waiting.append((orjson.dumps(record), done))
        if self._busy is None:
            self._busy = asyncio.create_task(self._write())
        await done
        self._arrived.set()

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await asyncio.to_thread(self._append, b"\n".join(record for record, _ in batch))
            for _, done in batch:
                done.set_result(None)
        self._busy = None

    def _append(self, records: bytes) -> None:
        os.write(self._file, records)
        os.fdatasync(self._file)

    async def receive(self) -> None:
        await self._arrived.wait()

    async def settle(self) -> None:
        self._arrived.clear()
