"""What people and the reconciler put in the way of deliveries: holds, fences, pauses."""

from __future__ import annotations

from typing import Any

from hive_wire.rpc_errors import BUSY, RpcError

from ..core.budget import Spending
from ..core.gate import AWAY_IS_IDLE, Refused
from ..store import changes
from ..store.rows import Unit
from .agent import Agent
from .broker import EVERYWHERE, Broker
from .deliveries import Deliveries
from .presence import Presence


class Stops:
    def __init__(self, broker: Broker, presence: Presence, deliveries: Deliveries) -> None:
        self._broker = broker
        self._presence = presence
        self._deliveries = deliveries

    def hold(self, agent: Agent, token: str, ttl: float) -> dict[str, Any]:
        """Stop new deliveries for a while. Raises RpcError(BUSY) on another's hold."""
        try:
            agent.gate.hold(token, ttl, self._broker.clock.steady())
        except Refused as error:
            raise RpcError(BUSY, str(error)) from None
        agent.news.ring()
        running = agent.mailbox.running
        return {"running": None if running is None else running.id, "known": agent.known}

    def release(self, agent: Agent, token: str) -> None:
        agent.gate.release(token)
        self._deliveries.pump(agent)

    async def fence(self, agent: Agent, token: str) -> None:
        """Deliver nothing until a new harness or `unfence`. Raises RpcError(BUSY)."""
        async with agent.lock:
            try:
                agent.gate.check_fence(
                    token, self._broker.clock.steady(), busy=self._may_be_busy(agent)
                )
            except Refused as error:
                raise RpcError(BUSY, str(error)) from None
            agent.gate.fenced = True  # at once: the hold may end while this is written
            try:
                await self._set_fence(agent.uid, fenced=True)
            except RpcError:
                agent.gate.fenced = False
                raise

    def _may_be_busy(self, agent: Agent) -> bool:
        """Whether a turn runs, or may run for all the broker knows since its start."""
        away = self._broker.clock.steady() - agent.away_since >= AWAY_IS_IDLE
        if agent.peer is None and away:
            return False
        unheard = not agent.known and agent.boot is not None
        return agent.mailbox.running is not None or unheard

    async def unfence(self, uid: str) -> None:
        """Deliver again; also for an agent that is retired by now."""
        agent = self._broker.agents.get(uid)
        if agent is None:
            await self._set_fence(uid, fenced=False)
            return
        async with agent.lock:
            await self._set_fence(uid, fenced=False)
        self._deliveries.pump(agent)

    async def _set_fence(self, uid: str, *, fenced: bool) -> None:
        def then(_: object) -> None:
            agent = self._broker.agents.get(uid)
            if agent is not None:
                agent.gate.fenced = fenced
            (self._broker.fenced.add if fenced else self._broker.fenced.discard)(uid)

        await self._broker.writer.submit(
            Unit(changes=(changes.set_fence(uid, fenced),), vital=True), then
        )

    async def pause(self, uid: str | None, by: str, reason: str) -> None:
        """Stop deliveries to one agent, or to all, until somebody lifts it."""
        scope, broker = uid or EVERYWHERE, self._broker
        data = {"by": by, "reason": reason}

        def then(_: object) -> None:
            broker.pauses[scope] = (by, reason)
            self._look_again(uid)

        unit = Unit(
            events=(broker.event(uid, "paused", data),),
            changes=(changes.set_pause(scope, by, reason, broker.clock.wall()),),
            vital=True,
        )
        await broker.writer.submit(unit, then)

    async def unpause(self, uid: str | None, by: str, reason: str) -> None:
        """Deliver again. For one agent this also lifts a budget that is used up: what it
        used until now no longer counts."""
        scope, broker = uid or EVERYWHERE, self._broker
        data = {"by": by, "reason": reason}
        spent = broker.agents.get(uid) if uid is not None else None
        if spent is not None and self._presence.limit(spent) is None:
            spent = None

        def then(_: object) -> None:
            broker.pauses.pop(scope, None)
            if spent is not None:
                spent.spending = Spending()
            self._look_again(uid)

        forgiven = () if spent is None else (changes.forgive(spent.uid, broker.clock.wall()),)
        unit = Unit(
            events=(broker.event(uid, "unpaused", data),),
            changes=(changes.lift_pause(scope), *forgiven),
        )
        await broker.writer.submit(unit, then)

    def _look_again(self, uid: str | None) -> None:
        agents = list(self._broker.agents.values()) if uid is None else []
        if uid is not None and uid in self._broker.agents:
            agents = [self._broker.agents[uid]]
        for agent in agents:
            self._presence.refresh(agent)
        self._deliveries.pump_all(agents)
