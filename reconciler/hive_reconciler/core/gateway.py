"""The reconciler's line to the gateway: who there is."""

from __future__ import annotations

from collections.abc import Mapping

from hive_wire.jsonrpc import Peer
from hive_wire.link import Link
from hive_wire.paths import Layout
from hive_wire.protocol import RegistryAgent

from .announcing import Announcer


class Gateway:
    def __init__(self, layout: Layout) -> None:
        self._announcer = Announcer()
        self.link = Link(
            layout.gateway_sock, on_connect=self._greet, on_down=self._announcer.forget
        )

    async def run(self) -> None:
        await self.link.run()

    async def publish(self, registry: Mapping[str, RegistryAgent]) -> None:
        """Tell the gateway, now if it listens and on each new connection."""
        self._announcer.wanted = registry
        if self.link.is_up:
            await self._announcer.tell(self.link)

    async def _greet(self, peer: Peer) -> None:
        await self._announcer.tell(peer)
