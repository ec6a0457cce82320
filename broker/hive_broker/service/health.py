"""Disk full, damage, loss: noticed, told, and kept from what agents read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection

from hive_wire.rpc_errors import RpcError

from ..store import changes
from ..store.check import Findings, check
from ..store.rows import Unit
from . import conditions as c
from .agent import Agent
from .broker import Broker
from .conditions import Conditions
from .deliveries import Deliveries

LOOK_AGAIN = 2.0  # seconds, while the disk is full
NAMED = 10  # ids that a condition lists


class Health:
    """`begin` once the sockets are open; who reads a damaged message tells the broker."""

    def __init__(self, broker: Broker, deliveries: Deliveries, conditions: Conditions) -> None:
        self._broker = broker
        self._deliveries = deliveries
        self._conditions = conditions
        self._damaged: set[int] = set()
        self._stop = threading.Event()
        self.messages: int | None = None  # on disk when the check ended
        broker.on_health = self._changed
        broker.on_damaged = lambda uid, ident: broker.spawn(self._met(uid, ident))

    def begin(self) -> None:
        if self._broker.lost:
            self._conditions.set(
                c.MESSAGES_LOST,
                f"{self._broker.lost} messages that were stored before this start are gone: the "
                "database's log was damaged or an older file was put in its place; "
                "restore a backup if you need them",
            )
        self._broker.spawn(self._check())

    def close(self) -> None:
        self._stop.set()

    # -- damage ----------------------------------------------------------------

    async def _check(self) -> None:
        last = self._broker.last_message
        found: Findings = await asyncio.to_thread(check, self._broker.path, last, self._stop)
        self.messages = found.messages
        if found.structure:
            self._corrupt(found.structure)
        if found.damaged:
            await self._damaged_are(found.damaged)

    async def _met(self, uid: str, ident: int) -> None:
        """It was to be handed to this agent."""
        agent = self._broker.agents.get(uid)
        if agent is not None:
            await self._condemn(agent, ident)
        await self._damaged_are((ident,))

    async def _damaged_are(self, idents: Collection[int]) -> None:
        """Nobody gets these messages any more: each is a dead letter of those it waits for.
        A turn that has one already read it before."""
        self._damaged.update(idents)
        some = ", ".join(map(str, sorted(self._damaged)[:NAMED]))
        self._conditions.set(
            c.MESSAGES_DAMAGED,
            f"{len(self._damaged)} messages are damaged on disk and are not delivered: {some}; "
            "ask their senders again, and have the disk checked",
        )
        for agent in list(self._broker.agents.values()):
            for ident in filter(agent.mailbox.waits, sorted(idents)):
                await self._condemn(agent, ident)

    async def _condemn(self, agent: Agent, ident: int) -> None:
        async with agent.lock:
            await self.condemn(agent, ident)
        self._deliveries.pump(agent)

    async def condemn(self, agent: Agent, ident: int) -> None:
        """Bury it; the caller holds the agent's lock."""
        verdict = agent.mailbox.condemn(ident)
        if verdict.dead is None:
            return
        dead, broker = verdict.dead, self._broker
        data = {"message": ident, "attempts": dead.counted, "cause": "damaged"}

        def then(_: object) -> None:
            agent.mailbox.apply(verdict)
            agent.calls.forget(ident)
            agent.dead += 1

        unit = Unit(
            events=(broker.event(agent.uid, "dead", data),),
            changes=(
                changes.bury(agent.uid, dead, "damaged", broker.clock.wall()),
                *(changes.detach(agent.uid, m) for m in verdict.detached),
                changes.forget_calls(agent.uid, ident),
            ),
            vital=True,
        )
        await broker.writer.submit(unit, then)

    # -- the disk --------------------------------------------------------------

    def _changed(self) -> None:
        """The writer's state is another one."""
        writer = self._broker.writer
        if writer.corrupt is not None:
            self._corrupt(writer.corrupt)
        if writer.full:
            self._conditions.set(
                c.DISK_FULL,
                f"the disk of {self._broker.path.parent} is full: nothing new is taken, running "
                "turns may end; free some space, then everything goes on by itself",
            )
            self._look_later()
            return
        self._conditions.clear(c.DISK_FULL)
        for agent in self._broker.agents.values():
            if agent.rows_refused and agent.peer is not None:
                agent.peer.close()  # its hello says where its rows go on
        self._deliveries.pump_all(list(self._broker.agents.values()))

    def _look_later(self) -> None:
        when = self._broker.clock.steady() + LOOK_AGAIN
        self._broker.alarms.set("disk", when, lambda: self._broker.spawn(self._look()))

    async def _look(self) -> None:
        """The writer looks at the disk before it writes anything."""
        try:
            await self._broker.writer.submit(Unit())
        except RpcError:
            self._look_later()

    def _corrupt(self, words: str) -> None:
        self._conditions.set(
            c.DATABASE_DAMAGED,
            f"the database is damaged ({words[:300]}); stop hyperhive, keep a copy of "
            f"{self._broker.path.parent}, and restore a backup",
        )
