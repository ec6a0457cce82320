"""Which agents there are, as the reconciler says; kept on disk and served without it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from hive_wire.protocol import Registry, RegistryAgent, RegistryChange
from hive_wire.registry import Parts, changed
from hive_wire.rpc_errors import INVALID_PARAMS, RpcError

from ..store import changes
from ..store.rows import Unit
from .agent import Agent
from .broker import Broker
from .deliveries import Deliveries
from .presence import Presence
from .questions import Questions
from .reminders import Reminders


class Registrar:
    """Takes registries, one after the other."""

    def __init__(
        self,
        broker: Broker,
        presence: Presence,
        deliveries: Deliveries,
        *,
        questions: Questions,
        reminders: Reminders,
    ) -> None:
        self._broker = broker
        self._presence = presence
        self._deliveries = deliveries
        self._questions = questions
        self._reminders = reminders
        self._lock = asyncio.Lock()
        self._parts = Parts()

    async def set(self, part: Registry, on_change: Callable[[], Awaitable[None]]) -> None:
        """Take the registry, or its next part; who is missing is retired. Then `on_change`.

        Raises RpcError(INVALID_PARAMS).
        """
        registry = self._parts.add(part)
        if registry is not None:
            async with self._lock:
                await self._take(registry, on_change)

    async def change(
        self, change: RegistryChange, on_change: Callable[[], Awaitable[None]]
    ) -> None:
        """Take what changed in the registry. Raises RpcError(INVALID_PARAMS)."""
        async with self._lock:
            known = tuple(agent.record for agent in self._broker.agents.values())
            await self._take(changed(known, change), on_change)

    async def _take(self, registry: Registry, on_change: Callable[[], Awaitable[None]]) -> None:
        _check(registry)
        wanted = {record.uid: record for record in registry.agents}
        gone = [uid for uid in self._broker.agents if uid not in wanted]
        fresh = [r for r in wanted.values() if self._record(r.uid) != r]
        if gone or fresh:
            await self._store(gone, fresh)
        # Not only of those that go now: the broker may have died when one was gone.
        for uid in {q.uid for q in self._broker.questions.values()} - self._broker.agents.keys():
            await self._questions.withdraw_all(uid)
        await on_change()

    def _record(self, uid: str) -> RegistryAgent | None:
        agent = self._broker.agents.get(uid)
        return None if agent is None else agent.record

    async def _store(self, gone: list[str], changed: list[RegistryAgent]) -> None:
        broker, wall = self._broker, self._broker.clock.wall()
        rows = [changes.retire_agent(uid, wall) for uid in gone]
        rows += [changes.set_agent(record) for record in changed]
        events = tuple(broker.event(uid, "retired", {}) for uid in gone)
        await broker.writer.submit(Unit(events=events, changes=tuple(rows)))
        for uid in gone:
            self._retire(broker.agents[uid])
        for record in changed:
            agent = broker.agents.get(record.uid)
            if agent is None:
                await self._adopt(record.uid)
            else:
                self._update(agent, record)
        broker.names = {agent.name: uid for uid, agent in broker.agents.items()}

    async def _adopt(self, uid: str) -> None:
        """Make a new or returning agent live, with the mail that waited for it."""
        now = self._broker.clock.wall()
        agent = self._broker.adopt(await self._broker.reader.agent_state(uid, now))
        late = await self._broker.reader.agent_state(uid, now)  # came while it was read
        for message in late.untouched:
            agent.mailbox.arrive(message)
        for delivery in late.deliveries:
            steady = self._broker.clock.steady_at(delivery.not_before)
            not_before = steady if delivery.not_before else 0.0
            agent.mailbox.arrive(delivery.message, delivery.hops, not_before)
        self._reminders.arm_all(uid)

    def _update(self, agent: Agent, record: RegistryAgent) -> None:
        agent.record = record
        self._broker.name_of[agent.uid] = record.name
        self._presence.refresh(agent)
        self._deliveries.pump(agent)

    def _retire(self, agent: Agent) -> None:
        """Its mail stays on disk; nobody reads it unless the uid comes back."""
        peer, agent.peer, agent.ready = agent.peer, None, False
        if peer is not None:
            peer.close()
        self._presence.refresh(agent)
        del self._broker.agents[agent.uid]
        for alarm in ("pump", "limit", "untold"):
            self._broker.alarms.cancel((alarm, agent.uid))
        agent.news.ring()


def _check(registry: Registry) -> None:
    for what in ("uid", "name"):
        counts = Counter(getattr(record, what) for record in registry.agents)
        if twice := sorted(value for value, count in counts.items() if count > 1):
            raise RpcError(INVALID_PARAMS, f"two agents have the {what} {twice[0]!r}")
