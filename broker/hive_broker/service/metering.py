"""What the gateway counted of an agent's use, for its budget."""

from __future__ import annotations

import asyncio

from hive_wire.protocol import Usage

from ..core.budget import price
from ..store import changes
from ..store.rows import Unit
from .broker import Broker
from .presence import Presence


class Metering:
    def __init__(self, broker: Broker, presence: Presence) -> None:
        self._broker = broker
        self._presence = presence
        self._storing: dict[tuple[str, float], asyncio.Task[None]] = {}

    async def used(self, uid: str, usage: Usage, usd: float, at: float) -> None:
        """Store it once; `usd` 0 is unknown, `at` in unix seconds. The gateway repeats a report whose answer
        was lost."""
        storing = self._storing.get((uid, at))
        if storing is None:
            storing = self._broker.start(self._store(uid, usage, usd, at))
            self._storing[uid, at] = storing
            storing.add_done_callback(lambda _: self._storing.pop((uid, at)))
        await self._broker.finished(storing)

    async def _store(self, uid: str, usage: Usage, usd: float, at: float) -> None:
        broker = self._broker
        if await broker.reader.is_metered(uid, at):
            return

        def then(_: object) -> None:
            agent = broker.agents.get(uid)
            if agent is not None:
                now = broker.clock.steady()
                agent.spending.metered.add(
                    min(broker.clock.steady_at(at), now), usd or price(usage)
                )
                self._presence.refresh(agent)

        await broker.writer.submit(Unit(changes=(changes.meter(uid, usage, usd, at),)), then)

    def limited(self, uid: str, until: float) -> None:
        """The model's API refuses this agent until then (unix seconds)."""
        agent = self._broker.agents.get(uid)
        if agent is not None:
            agent.limited_until = until
