"""Applies the limits of `core.limits` and `core.damping` to what is sent."""

from __future__ import annotations

from collections.abc import Iterable

from hive_wire.jsonrpc import BUSY, RpcError

from ..core.damping import FREE_HOPS, hops_after, wait
from ..core.limits import TooMuch, check_room
from ..store import changes
from ..store.rows import NewMessage, Unit
from . import conditions as c
from .agent import Agent
from .broker import Broker
from .conditions import Conditions
from .deliveries import Deliveries

SHOWN = 300.0  # seconds that a pair is shown as damped behind its last such message


class Limits:
    def __init__(self, broker: Broker, deliveries: Deliveries, conditions: Conditions) -> None:
        self._broker = broker
        self._deliveries = deliveries
        self._conditions = conditions
        self._damped: set[tuple[str, str]] = set()  # names

    def check_rooms(self, uids: Iterable[str]) -> None:
        """Raises RpcError(BUSY) when too much waits for one of them."""
        agents = self._broker.agents
        try:
            for uid in uids:
                if (agent := agents.get(uid)) is not None:
                    check_room(agent.name, agent.mailbox.size)
        except TooMuch as error:
            raise RpcError(BUSY, str(error)) from None

    def spend(self, agent: Agent, size: int) -> None:
        """Raises RpcError(BUSY) when the agent has sent too much of late."""
        try:
            agent.allowance.spend(size, self._broker.clock.steady())
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
        for name in names:
            self._show(agent.name, name, seconds)
        return message._replace(hops=hops, not_before=message.at + seconds)

    async def lift(self, agents: Iterable[Agent]) -> None:
        """What these agents say to each other is not far from a person any more."""
        found = list(agents)
        for agent in found:
            await self._lift(agent)
        names = {agent.name for agent in found}
        for pair in [pair for pair in self._damped if names & set(pair)]:
            self._hide(pair)
        self._deliveries.pump_all(found)

    async def _lift(self, agent: Agent) -> None:
        def then(_: object) -> None:
            agent.mailbox.undamp()

        async with agent.lock:
            await self._broker.writer.submit(Unit(changes=(changes.undamp(agent.uid),)), then)

    def _show(self, one: str, other: str, seconds: float) -> None:
        pair = (min(one, other), max(one, other))
        self._damped.add(pair)
        until = self._broker.clock.steady() + seconds + SHOWN
        self._broker.alarms.set(("damped", pair), until, lambda: self._hide(pair))
        self._tell()

    def _hide(self, pair: tuple[str, str]) -> None:
        self._broker.alarms.cancel(("damped", pair))
        self._damped.discard(pair)
        self._tell()

    def _tell(self) -> None:
        if not self._damped:
            self._conditions.clear(c.DAMPED)
            return
        pairs = ", ".join(f"{one} and {other}" for one, other in sorted(self._damped))
        self._conditions.set(
            c.DAMPED,
            f"{pairs} have answered each other for more than {FREE_HOPS} turns without a "
            "person: their messages wait, each longer, at most 5 minutes; a message from you "
            "to one of them begins anew",
            agents=(name for pair in self._damped for name in pair),
        )
