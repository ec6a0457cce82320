"""What of the picture outlives the process: memory, suspensions, ports."""

from __future__ import annotations

import asyncio
import logging
import time

from hive_wire.paths import Layout
from hive_wire.terms import Role

from ..model.past import INTERRUPTED, Outcome
from . import recall
from .agents import Agent, Made
from .journal import Journal, Open
from .memory_files import Kept, MemoryFiles
from .picture import Picture
from .ports import Ports
from .slices import in_slices
from .suspensions import SWARM, Suspension, Suspensions

log = logging.getLogger(__name__)

MEMORY, SUSPENDED, JOURNAL = "memory", "suspended.json", "journal.json"


class Keeper:
    """All of it may be deleted: then it is observed anew, and nobody is suspended."""

    def __init__(self, layout: Layout, picture: Picture) -> None:
        self._picture = picture
        self._memory = MemoryFiles(layout.reconciler / MEMORY)
        self._suspensions = Suspensions(layout.reconciler / SUSPENDED)
        self._ports = Ports(layout)
        self.journal = Journal(layout.reconciler / JOURNAL)
        self._roles = Made(_role)
        self._ported: object = None  # whose ports the picture has
        self._opened = False

    async def open(self) -> None:
        """Fill the picture with what a former process left; once."""
        if self._opened:
            return
        kept = await asyncio.to_thread(self._memory.load)
        await asyncio.to_thread(self._suspensions.load)
        self._picture.remember(kept.agents)
        self._picture.may_destroy = kept.may_destroy
        self._picture.suspensions = self._suspensions.words()
        for left in await asyncio.to_thread(self.journal.take):
            self._interrupted(left)
        self._opened = True

    def _interrupted(self, left: Open) -> None:
        """A former process was killed at it: it is told, and what there is now is observed."""
        now = time.time()
        words = "hive-c0re ended meanwhile; it observes and plans anew"
        log.warning("%s of %s was under way: %s", left.kind, left.agent, words)
        self._picture.events.add(left.agent, "Action", INTERRUPTED, f"{left.kind}: {words}", now)
        memory = self._picture.memory.get(left.uid)
        if memory is not None:
            outcome = Outcome(left.kind, left.revision, INTERRUPTED, words, left.since, now)
            self._picture.remember({left.uid: recall.noted(memory, outcome)})

    async def keep(self) -> None:
        """Store memory. What cannot be stored is only forgotten at a restart."""
        picture = self._picture
        try:
            await asyncio.to_thread(self._memory.save, Kept(picture.memory, picture.may_destroy))
        except OSError as error:
            log.warning("memory is not stored: %s", error)

    async def keep_ports(self) -> None:
        """Give each agent its port, and store it."""
        roles = await in_slices(self._roles.making(self._picture.agents))
        if roles is self._ported:
            return
        try:
            self._picture.ports = await asyncio.to_thread(self._ports.of, roles)
            self._ported = roles
        except OSError as error:
            log.warning("ports are not stored: %s", error)

    def forget(self, unsettled: frozenset[str]) -> None:
        """Nothing is remembered of agents that are neither wanted nor seen nor under way."""
        picture = self._picture
        usable, seen = picture.agents.by_uid, picture.sight.by_uid
        gone = {uid for uid in picture.leaving if uid not in seen and uid not in unsettled}
        picture.forget(gone)
        picture.may_destroy -= frozenset(
            uid
            for uid in picture.may_destroy
            if uid in usable or (uid not in seen and uid not in unsettled)
        )

    async def suspend(self, uid: str | None, suspension: Suspension | None) -> bool:
        """Take one agent or all (None) out of the loop; back in with no suspension.

        False when there was nothing to resume. Raises OSError.
        """
        await self.open()
        done = await asyncio.to_thread(self._suspensions.set, uid or SWARM, suspension)
        self._picture.suspensions = self._suspensions.words()
        return done


def _role(agent: Agent) -> tuple[str, Role]:
    return agent.name, agent.valid.spec.role if agent.valid is not None else "agent"
