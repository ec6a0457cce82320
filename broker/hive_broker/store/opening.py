"""All that is on disk, opened together when the broker starts."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

from . import load
from .ballast import Ballast, room
from .database import open_for_writing
from .highwater import HighWater, Marks

LEAST_ROOM = 256 << 10  # to count this start and to let running turns end


@dataclass(frozen=True)
class Opened:
    """`lost`: how many messages were on disk once and are not any more."""

    path: Path
    db: sqlite3.Connection
    snapshot: load.Snapshot
    high: HighWater
    ballast: Ballast
    lost: int


def open_store(path: Path, now: float) -> Opened:
    """The store at `path`. Ids go on behind the highest that were ever given.

    Raises DatabaseRefused, OSError.
    """
    ballast = Ballast(path.with_name("ballast"))
    if room(path.parent) < LEAST_ROOM:
        ballast.ran_out()
    db = open_for_writing(path)
    snapshot = load.begin(db, now)
    high = HighWater(path.with_name("highwater"))
    lost = max(0, high.marks.message - snapshot.last_message)
    snapshot = replace(
        snapshot,
        last_message=max(snapshot.last_message, high.marks.message),
        last_event=max(snapshot.last_event, high.marks.event),
    )
    high.raise_to(Marks(snapshot.last_message, snapshot.last_event))
    ballast.keep()
    return Opened(path, db, snapshot, high, ballast, lost)
