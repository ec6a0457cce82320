"""Deletes what is old: rows that pass after 14 days, settled messages after 30; and of an agent
that wrote more than one may keep, its oldest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

from hive_wire.rpc_errors import RpcError

from ..core.retention import (
    BETWEEN_MARKS,
    DAY,
    PASSING_ROWS,
    SETTLED_MESSAGES,
    Mark,
    newest_before,
)
from ..store import old, shares
from ..store.rows import Change, Unit
from . import conditions as c
from .agent import Agent
from .broker import Broker
from .conditions import Conditions

log = logging.getLogger(__name__)

PAUSE = 0.05  # seconds between two small transactions: others go first
WRITTEN = 128 << 20  # bytes that an agent wrote before one looks how much it keeps


class Retention:
    """Every ten minutes of service a mark, and what went old meanwhile."""

    def __init__(self, broker: Broker, conditions: Conditions) -> None:
        self._broker = broker
        self._conditions = conditions
        self._cut: dict[str, int] = {}  # rows of agents, by name
        self._began = broker.clock.steady()
        self._lived = 0.0  # at `_began`
        self._marks: list[Mark] = []
        self._written_out = 0
        self.deleted = 0

    async def begin(self) -> None:
        kept = await asyncio.to_thread(old.kept, self._broker.path)
        self._lived, self._marks = kept.lived, list(kept.marks)
        self._written_out = kept.written_out
        self._arm()

    def lived(self) -> float:
        """Seconds that brokers served this store."""
        return self._lived + self._broker.clock.steady() - self._began

    async def look(self) -> None:
        """Make a mark, then delete what is old by the marks."""
        last = self._broker.writer.last
        mark = Mark(self.lived(), last.message, last.event)
        forget = mark.lived - SETTLED_MESSAGES - DAY
        unit = Unit(changes=old.mark(mark, forget), vital=True)
        await self._broker.writer.submit(unit)
        self._marks = [m for m in (*self._marks, mark) if m.lived >= forget]
        path = self._broker.path
        rows = newest_before(self._marks, mark.lived, PASSING_ROWS).event
        await self._drop(old.old_rows(path, rows), old.drop_rows)
        # A day ahead of the messages: some were given their ids long before they were stored.
        await self._write_out(newest_before(self._marks, mark.lived, SETTLED_MESSAGES - DAY).event)
        messages = newest_before(self._marks, mark.lived, SETTLED_MESSAGES).message
        agents = list(self._broker.name_of)
        await self._drop(
            old.old_messages(path, messages), lambda ids: old.drop_messages(ids, agents)
        )
        for agent in [a for a in self._broker.agents.values() if a.written >= WRITTEN]:
            await self._cut_down(agent)

    async def _cut_down(self, agent: Agent) -> None:
        """What one agent wrote, it must not have all others' disk for."""
        path, written, before = self._broker.path, agent.written, self.deleted
        await self._drop(shares.excess_events(path, agent.uid, shares.MOST), old.drop_rows)
        questions = shares.excess_questions(path, agent.uid, shares.MOST_QUESTIONS)
        await self._drop(questions, shares.drop_questions)
        agent.written -= written
        if self.deleted == before:
            return
        self._cut[agent.name] = self._cut.get(agent.name, 0) + self.deleted - before
        rows = ", ".join(f"{count} of {name}" for name, count in sorted(self._cut.items()))
        self._conditions.set(
            c.HISTORY_CUT,
            f"the oldest rows of agents that wrote more than is kept of one ({shares.MOST >> 30} "
            f"GiB) were deleted before their time: {rows}; see hive logs, and stop an agent that "
            "does nothing but write",
            self._cut,
        )

    async def _write_out(self, upto: int) -> None:
        """What the history says of messages outlives them."""
        while self._written_out < upto:
            to = min(self._written_out + old.WRITE_OUT, upto)
            changes = old.write_out(self._written_out, to)
            await self._broker.writer.submit(Unit(changes=changes, vital=True))
            self._written_out = to
            await asyncio.sleep(PAUSE)

    async def _drop(
        self, batches: Iterator[list[int]], changes: Callable[[list[int]], tuple[Change, ...]]
    ) -> None:
        while idents := await asyncio.to_thread(next, batches, None):
            await self._broker.writer.submit(Unit(changes=changes(idents), vital=True))
            self.deleted += len(idents)
            await asyncio.sleep(PAUSE)

    def _arm(self) -> None:
        when = self._broker.clock.steady() + BETWEEN_MARKS
        self._broker.alarms.set("retention", when, lambda: self._broker.spawn(self._run()))

    async def _run(self) -> None:
        try:
            await self.look()
        except RpcError as error:
            log.warning("old rows stay for now: %s", error)
        finally:
            self._arm()
