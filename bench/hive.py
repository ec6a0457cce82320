"""A real `hive up` for a bench, and what its processes are."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.swarm import Swarm

from hive_wire.jsonrpc import Peer
from hive_wire.sockets import connect

MANAGER = "hm1nd"


@asynccontextmanager
async def started(*options: str, env: dict[str, str] | None = None) -> AsyncIterator[Swarm]:
    """A swarm with its manager ready; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hive-bench-") as scratch:
        swarm = Swarm(Path(scratch) / "root", *options, env=env)
        try:
            await swarm.start()
            await swarm.ready(MANAGER)
            yield swarm
        except TimeoutError:
            print(await swarm.report(), file=sys.stderr)
            raise
        finally:
            await swarm.kill()


@asynccontextmanager
async def watching(swarm: Swarm) -> AsyncIterator[Events]:
    """The broker's events from now on, pushed."""
    events = Events()
    peer = await connect(swarm.layout.broker_sock, {"events": events.heard})
    try:
        await peer.request("subscribe", {"after": None, "stream": True}, timeout=10)
        yield events
    finally:
        peer.close()


class Events:
    def __init__(self) -> None:
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def heard(self, _peer: Peer, params: dict[str, Any]) -> None:
        for event in params["events"]:
            self._queue.put_nowait(event)

    async def next(self, kind: str, name: str) -> dict[str, Any]:
        """The next event of that kind of that agent; others are passed over.

        Raises TimeoutError after a minute.
        """
        async with asyncio.timeout(60):
            while True:
                event = await self._queue.get()
                if (event["kind"], event["name"]) == (kind, name):
                    return event


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    argv: tuple[str, ...]
    started: float  # seconds since boot

    @classmethod
    def all(cls) -> dict[int, Process]:
        """Every process of the machine, by pid."""
        found = (cls._read(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return {process.pid: process for process in found if process is not None}

    @classmethod
    def _read(cls, entry: Path) -> Process | None:
        try:
            argv = (entry / "cmdline").read_bytes().rstrip(b"\0").decode().split("\0")
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return cls(int(entry.name), int(stat[1]), tuple(argv), int(stat[19]) / 100)

    @property
    def command(self) -> str:
        return " ".join(self.argv)


def containers(swarm: Swarm) -> dict[str, Process]:
    """The supervisors (systemd-nspawn) of a swarm's containers, by container name."""
    tag = swarm.layout.tag
    found = {}
    for process in Process.all().values():
        for word in process.argv:
            if word.startswith("--machine=") and word.endswith(tag):
                found[word.removeprefix("--machine=").removesuffix(tag)] = process
    return found


def descendants(root: int, processes: dict[int, Process]) -> list[Process]:
    """All processes below `root`, without it."""
    below: list[Process] = []
    for process in processes.values():
        if process.parent == root:
            below += [process, *descendants(process.pid, processes)]
    return below
