"""All that is on disk, opened together when the broker starts."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

from . import load
from .ballast import Ballast, room
from .database import DatabaseRefused, open_for_writing, refusal
from .highwater import HighWater, Marks

LEAST_ROOM = 256 << 10  # to count this start and to let running turns end
TO_OPEN = 64 << 10  # bytes of the disk that SQLite takes before anything is written


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
        _check_room(path.with_name("room"))
    db = open_for_writing(path)
    try:
        snapshot = load.begin(db, now)
    except (sqlite3.Error, TypeError, ValueError) as error:  # or a row is not what was written
        db.close()
        raise refusal(path, error) from None
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


def _check_room(probe: Path) -> None:
    """SQLite maps a file that it makes: without room for it the kernel kills the process."""
    try:
        with probe.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, TO_OPEN)
    except OSError as error:
        raise DatabaseRefused(
            f"the disk of {probe.parent} cannot be written ({error.strerror}): nothing is lost; "
            "free some space, then start again"
        ) from None
    finally:
        probe.unlink(missing_ok=True)
