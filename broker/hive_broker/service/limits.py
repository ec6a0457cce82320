"""Applies the limits of `core.limits` and `core.damping` to what is sent."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from hive_wire.rpc_errors import BUSY, RpcError

from ..core.damping import FREE_HOPS, hops_after, wait
from ..core.limits import MOST_WAITING, TooMuch, check_room
from ..store import changes
from ..store.rows import NewMessage, Unit
from . import conditions as c
from .agent import Agent
from .broker import Broker
from .conditions import Conditions
from .deliveries import Deliveries

NAMED = 10  # pairs that the condition lists
SHOWN = 300.0  # seconds that a pair is shown as damped behind its last such message


class Limits:
    def __init__(self, broker: Broker, deliveries: Deliveries, conditions: Conditions) -> None:
        self._broker = broker
        self._deliveries = deliveries
        self._conditions = conditions
        self._damped: set[tuple[str, str]] = set()  # names

    def check_rooms(self, uids: Iterable[str], most: int = MOST_WAITING) -> None:
        """Raises RpcError(BUSY) when too much waits for one of them."""
        agents = self._broker.agents
        try:
            for uid in uids:
                if (agent := agents.get(uid)) is not None and agent.mailbox.size >= most:
                    check_room(agent.name, agent.mailbox.size, most)
        except TooMuch as error:
            raise RpcError(BUSY, str(error)) from None

    def with_room(self, uids: Iterable[str]) -> tuple[str, ...]:
        """Those for whom not too much waits."""
        agents = self._broker.agents
        return tuple(u for u in uids if u in agents and agents[u].mailbox.size < MOST_WAITING)

    def spend(self, agent: Agent, size: int, recipients: int = 1) -> None:
        """Raises RpcError(BUSY) when the agent has sent too much of late."""
        try:
            agent.allowance.spend(size, self._broker.clock.steady(), recipients)
        except TooMuch as error:
            raise RpcError(BUSY, str(error)) from None

    # -- endless talk ------------------------------------------------------------

    def damped(self, agent: Agent, message: NewMessage) -> NewMessage:
        """The agent's message with its hops and, when they are many, its wait."""
        hops = hops_after(agent.mailbox.hops())
        seconds = wait(hops)
        if not seconds or not message.recipients:
            return message._replace(hops=hops)
        names = [self._broker.name_of.get(uid, uid) for uid in message.recipients]
        self._show(agent.name, names, seconds)
        return message._replace(hops=hops, not_before=message.at + seconds)

    async def lift(self, agents: Iterable[Agent]) -> None:
        """What these agents say to each other is not far from a person any more."""
        found = list(agents)
        for agent in found:
            await self._lift(agent)
        names = {agent.name for agent in found}
        self._hide([pair for pair in self._damped if names & set(pair)])
        self._deliveries.pump_all(found)

    async def _lift(self, agent: Agent) -> None:
        def then(_: object) -> None:
            agent.mailbox.undamp()

        async with agent.lock:
            await self._broker.writer.submit(Unit(changes=(changes.undamp(agent.uid),)), then)

    def _show(self, one: str, others: Iterable[str], seconds: float) -> None:
        until = self._broker.clock.steady() + seconds + SHOWN
        for other in others:
            pair = (min(one, other), max(one, other))
            self._damped.add(pair)
            self._broker.alarms.set(("damped", pair), until, partial(self._hide, [pair]))
        self._tell()

    def _hide(self, pairs: Iterable[tuple[str, str]]) -> None:
        for pair in pairs:
            self._broker.alarms.cancel(("damped", pair))
            self._damped.discard(pair)
        self._tell()

    def _tell(self) -> None:
        if not self._damped:
            self._conditions.clear(c.DAMPED)
            return
        named = sorted(self._damped)[:NAMED]
        pairs = ", ".join(f"{one} and {other}" for one, other in named)
        if len(self._damped) > NAMED:
            pairs += f" and {len(self._damped) - NAMED} other pairs"
        self._conditions.set(
            c.DAMPED,
            f"{pairs} have answered each other for more than {FREE_HOPS} turns without a "
            "person: their messages wait, each longer, at most 5 minutes; a message from you "
            "to one of them begins anew",
            agents=(name for pair in named for name in pair),
        )
