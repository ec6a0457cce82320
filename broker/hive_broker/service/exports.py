"""Passes an agent's pack on to whoever asked for it; nothing is stored."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from hive_wire.jsonrpc import Peer
from hive_wire.rpc_errors import REFUSED, RpcError

from .agent import Agent

MOST_BYTES = 64 << 20
MOST_WAITING = 32 << 20  # base64 that the asker has not read yet
SECONDS = 120.0


class Relay:
    """One export under way. Chunks leave in the order they came."""

    def __init__(self, asker: Peer, stream: str) -> None:
        self.problem: str | None = None
        self._asker = asker
        self._stream = stream
        self._turn = asyncio.Lock()
        self._passed = 0
        self._waiting = 0

    async def chunk(self, data: str) -> None:
        """Pass one chunk (base64) on; after a problem chunks are dropped."""
        if self.problem is not None:
            return
        self._passed += len(data) * 3 // 4
        self._waiting += len(data)
        if self._passed > MOST_BYTES:
            self.problem = f"the pack is over {MOST_BYTES >> 20} MiB"
        elif self._waiting > MOST_WAITING:
            self.problem = "the pack came faster than it was read"
        async with self._turn:
            if self.problem is None:
                await self._asker.drained()
                self._asker.notify("chunk", {"stream": self._stream, "data": data})
            self._waiting -= len(data)

    async def finished(self) -> None:
        """Returns when every chunk that came is passed on."""
        async with self._turn:
            return


class Exports:
    """Relays by the stream name that the agent's harness was given."""

    def __init__(self) -> None:
        self._relays: dict[tuple[str, str], Relay] = {}
        self._names = itertools.count(1)

    async def export(
        self, agent: Agent, commit: str, have: tuple[str, ...], asker: Peer, stream: str
    ) -> dict[str, Any]:
        """`{oid, bytes}` once all chunks are on their way to `asker`. Raises RpcError."""
        harness = agent.connected()
        name = f"export-{next(self._names)}"
        relay = self._relays[agent.uid, name] = Relay(asker, stream)
        try:
            result = await harness.request(
                "export", {"commit": commit, "have": list(have), "stream": name}, timeout=SECONDS
            )
            await relay.finished()
        except TimeoutError:
            raise RpcError(REFUSED, f"{agent.name} took over {SECONDS:.0f} s to pack") from None
        finally:
            del self._relays[agent.uid, name]
        if relay.problem is not None:
            raise RpcError(REFUSED, f"{agent.name}: {relay.problem}")
        if not isinstance(result, dict):
            raise RpcError(REFUSED, f"{agent.name} answered the export with no object")
        return {"oid": str(result.get("oid", ""))[:64], "bytes": result.get("bytes")}

    async def chunk(self, agent: Agent, stream: str, data: str) -> None:
        """A chunk from the agent's harness; one that nobody asked for is dropped."""
        relay = self._relays.get((agent.uid, stream))
        if relay is not None:
            await relay.chunk(data)
