"""Queues messages for agents and grants turns, the moment nothing stands against it."""

from __future__ import annotations

import asyncio
from typing import Any

from ..core.delivery import Turn
from ..store import changes
from ..store.checksum import Damaged
from ..store.rows import NewMessage, Unit
from .agent import Agent
from .bodies import Bodies
from .broker import Broker
from .presence import Presence

PUMP_AT_ONCE = 100


class Deliveries:
    """`arrived` and `pump` only; whoever changes what stands against a grant calls `pump`."""

    def __init__(self, broker: Broker, presence: Presence, bodies: Bodies) -> None:
        self._broker = broker
        self._presence = presence
        self._bodies = bodies

    def arrived(self, message: NewMessage) -> None:
        """`message` is on disk: queue it for each live recipient, and deliver."""
        self._bodies.remember(message)
        not_before = self._broker.clock.steady_at(message.not_before) if message.not_before else 0.0
        found: list[Agent] = []
        for uid in message.recipients:
            if (agent := self._broker.agents.get(uid)) is not None:
                agent.mailbox.arrive(message.id, message.hops, not_before)
                found.append(agent)
        if len(found) == 1:
            self.pump(found[0])
        else:
            self.pump_all(found)

    def pump_all(self, agents: list[Agent]) -> None:
        """Pump many, a hundred at a time, so that a broadcast holds up nobody."""
        for agent in agents[:PUMP_AT_ONCE]:
            self.pump(agent)
        if len(agents) > PUMP_AT_ONCE:
            asyncio.get_running_loop().call_soon(self.pump_all, agents[PUMP_AT_ONCE:])

    def is_open(self, agent: Agent) -> bool:
        """Whether a turn might begin now, were there a message."""
        stopped = agent.gate.fenced or agent.gate.held(self._broker.clock.steady())
        paused = self._broker.paused(agent.uid) is not None
        return not stopped and not paused and self._presence.limit(agent) is None

    def pump(self, agent: Agent) -> None:
        """Grant the next turn if nothing stands against it."""
        agent.news.ring()
        if not agent.ready or agent.mailbox.running is not None or agent.gate.fenced:
            return
        if self._broker.writer.full or self._broker.paused(agent.uid) is not None:
            return  # while the disk is full, what is left of it is for turns that run
        now = self._broker.clock.steady()
        again = self._when_open(agent, now)
        if again is not None:
            self._broker.alarms.set(("pump", agent.uid), again, lambda: self._ring(agent))
            return
        turn = agent.mailbox.grant(now)
        if turn is not None:
            self.push(agent, turn)
            self._started(agent, turn, now)

    def _when_open(self, agent: Agent, now: float) -> float | None:
        """When to look again, or None when a turn may start now or nothing waits."""
        ready_at = agent.mailbox.ready_at()
        if ready_at is None:
            return None
        if agent.gate.held(now):
            return agent.gate.held_until()
        limit = self._presence.limit(agent)
        if limit is not None:
            self._presence.refresh(agent)
            return limit.until
        return ready_at if ready_at > now else None

    def _ring(self, agent: Agent) -> None:
        if self._broker.agents.get(agent.uid) is agent:
            self._presence.refresh(agent)
            self.pump(agent)

    def _started(self, agent: Agent, turn: Turn, now: float) -> None:
        agent.spending.turns.add(now, 1)
        broker = self._broker
        data = {"turn": turn.id, "message": turn.message, "attempt": turn.attempt}
        broker.writer.post(
            Unit(
                events=(broker.event(agent.uid, "turn.started", data, turn.id),),
                changes=(changes.start_turn(agent.uid, turn, broker.clock.wall()),),
            )
        )

    def push(self, agent: Agent, turn: Turn) -> None:
        """Send the grant; at once when the message is in memory."""
        peer, message = agent.peer, self._bodies.at_hand(turn.message)
        if peer is None:
            return
        if message is not None:
            peer.notify("grant", grant(agent, turn, message))
            return

        async def read_and_push() -> None:
            try:
                body = await self._bodies.get(turn.message)
            except Damaged:
                self._broker.on_damaged(agent.uid, turn.message)
                return
            if agent.peer is peer and agent.mailbox.running == turn:
                peer.notify("grant", grant(agent, turn, body))

        self._broker.spawn(read_and_push())


def grant(agent: Agent, turn: Turn, message: dict[str, Any]) -> dict[str, Any]:
    return {"turn": turn.id, "message": message, "unread": agent.mailbox.waiting}
