"""Commits a batch of units, or what of it can be: one bad unit fails no other, and while the
disk is full what lets something end still gets there."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .ballast import Ballast
from .database import PRIMARY
from .highwater import HighWater, Marks
from .rows import Holder, StoredEvent, Unit
from .tables import Tables


class Outcome(NamedTuple):
    """Of a batch: its events, who held the keys of messages, and what failed by place."""

    events: list[StoredEvent]
    held: dict[int, Holder]
    errors: dict[int, Exception]


@dataclass(slots=True)
class Counts:
    """Since the start of the process; `messages` newly stored ones."""

    commits: int = 0
    seconds: float = 0.0  # of the commits, with their fsync
    messages: int = 0
    refused: int = 0


class DiskFull(Exception):
    """There is no room for what is not vital."""

    def __str__(self) -> str:
        return "the host's disk is full"


class Committing:
    """`commit` in one thread; what else it says may be read in another between two commits."""

    def __init__(
        self,
        db: sqlite3.Connection,
        last: Marks,
        sequences: dict[str | None, int],
        high: HighWater,
        ballast: Ballast,
    ) -> None:
        self._tables = Tables(db, last, sequences)
        self._high = high
        self._ballast = ballast
        self.corrupt: str | None = None
        self.counts = Counts()

    @property
    def full(self) -> bool:
        return self._ballast.full

    @property
    def last(self) -> Marks:
        """The highest ids on disk."""
        return self._high.marks

    def commit(self, units: Sequence[Unit]) -> Outcome:
        """Never raises: what could not be written is in `errors`, by its place."""
        self._ballast.look()
        was_full = self._ballast.full
        outcome = self._together(dict(enumerate(units)))
        failed = any(not isinstance(error, DiskFull) for error in outcome.errors.values())
        if failed and (len(units) > 1 or self._ballast.full != was_full):
            outcome = Outcome([], {}, {})
            for place, unit in enumerate(units):
                alone = self._together({place: unit})
                outcome.events.extend(alone.events)
                outcome.held.update(alone.held)
                outcome.errors.update(alone.errors)
        self.counts.refused += len(outcome.errors)
        return outcome

    def close(self) -> None:
        self._tables.close()
        self._high.close()

    def _together(self, units: dict[int, Unit]) -> Outcome:
        """All of the units, by their places, or none; while the disk is full, the vital ones."""
        errors: dict[int, Exception] = {}
        if self._ballast.full:
            errors = {place: DiskFull() for place, unit in units.items() if not unit.vital}
            units = {place: unit for place, unit in units.items() if unit.vital}
        began = time.perf_counter()
        try:
            events, held = self._tables.commit(list(units.values()))
        except Exception as error:  # noqa: BLE001 - whatever one unit holds, others go on
            self._note(error)
            return Outcome([], {}, errors | dict.fromkeys(units, error))
        self.counts.commits += 1
        self.counts.seconds += time.perf_counter() - began
        self.counts.messages += sum(len(unit.messages) for unit in units.values()) - len(held)
        self._high.raise_to(self._tables.last)
        return Outcome(events, held, errors)

    def _note(self, error: Exception) -> None:
        code = getattr(error, "sqlite_errorcode", 0) & PRIMARY
        if code == sqlite3.SQLITE_FULL:
            self._ballast.ran_out()
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self.corrupt = str(error)
