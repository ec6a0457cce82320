"""The reconciler's line to the gateway: who there is."""

from __future__ import annotations

from hive_wire.jsonrpc import Peer
from hive_wire.link import Link
from hive_wire.paths import Layout
from hive_wire.protocol import Registry


class Gateway:
    def __init__(self, layout: Layout) -> None:
        self._registry: Registry | None = None
        self._told: Registry | None = None  # what this connection was told
        self.link = Link(layout.gateway_sock, on_connect=self._greet, on_down=self._down)

    async def run(self) -> None:
        await self.link.run()

    async def publish(self, registry: Registry) -> None:
        """Tell the gateway, now if it listens and on each new connection."""
        self._registry = registry
        if self.link.is_up and registry != self._told:
            await self.link.request("registry.set", registry.model_dump(mode="json"))
            self._told = registry

    async def _greet(self, peer: Peer) -> None:
        if self._registry is not None:
            known = self._registry
            await peer.request("registry.set", known.model_dump(mode="json"), timeout=30)
            self._told = known

    def _down(self) -> None:
        self._told = None
