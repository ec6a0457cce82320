"""What `hive up` tells while it runs: one short line for each thing a person wants to know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hive_wire.jsonrpc import Peer
from hive_wire.link import Link
from hive_wire.pages import STATUS, ask_whole
from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError

from .plain import line

Say = Callable[[str], None]


class Console:
    """Follows host.sock and says what is new."""

    def __init__(self, layout: Layout, say: Say) -> None:
        self._say = say
        self._changed = asyncio.Event()
        self._agents: dict[str, str] = {}
        self._proposals: set[int] = set()
        self._link = Link(
            layout.host_sock, {"changed": lambda *_: self._changed.set()}, on_connect=self._greet
        )

    async def run(self) -> None:
        """Until cancelled."""
        link = asyncio.create_task(self._link.run())
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                try:
                    await self._look()
                except (RpcError, TimeoutError):
                    continue  # the reconciler went away; the next connection wakes us
        finally:
            link.cancel()

    async def _greet(self, peer: Peer) -> None:
        await peer.request("subscribe", timeout=10)
        self._changed.set()

    async def _ask(self, method: str, **params: Any) -> Any:
        return await self._link.request(method, params)

    async def _look(self) -> None:
        status = await ask_whole(self._ask, STATUS)
        stale = line(status["stale"] or "", 300) if status["at"] else ""
        now = {"": stale, **{a["name"]: word(a) for a in status["agents"]}}
        for name, text in now.items():
            if text and self._agents.get(name) != text:
                self._say(f"{name or 'swarm'}: {text}")
        self._agents = now
        found = await self._link.request("proposals", {"state": "open", "limit": 50})
        for proposal in found["proposals"]:
            if proposal["n"] not in self._proposals:
                n, kind, agent = proposal["n"], proposal["kind"], line(proposal["agent"])
                self._say(f"proposal {n} waits for you: {kind} {agent} (hive show {n})")
        self._proposals = {proposal["n"] for proposal in found["proposals"]}


def word(agent: dict[str, Any]) -> str:
    """What matters of one agent now; "" for what passes by itself."""
    found = {c["type"]: c for c in agent["conditions"]}
    stalled, ready = found.get("Stalled"), found.get("Ready")
    if stalled is not None and stalled["status"] == "True":
        return line(f"{stalled['reason']}: {stalled['message']}", 300)
    if ready is not None and ready["status"] == "True":
        return "ready"
    if ready is not None and ready["reason"] == "Stopped":
        return "stopped"
    healthy = found.get("Healthy")
    if healthy is not None and healthy["reason"] in ("CrashLoop", "Failed", "Deadline"):
        return line(f"{healthy['reason']}: {healthy['message']}", 300)
    return ""
