"""Looks through the whole database for damage, beside everything else."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from .checksum import SQL as CRC
from .teaching import teach

PAUSE = 0.002  # seconds between two looks: whoever sends goes first
STEP = 1000  # messages a look: a long one would keep SQLite's log from being emptied


@dataclass(frozen=True, slots=True)
class Findings:
    """`structure` in SQLite's words, "" when sound; `damaged` ids of messages."""

    structure: str
    damaged: tuple[int, ...]
    messages: int


def check(path: Path, last: int, stop: threading.Event) -> Findings:
    """Blocks for seconds with millions of messages; ends early when `stop` is set."""
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    teach(db)
    try:
        structure = _structure(db)
        damaged: list[int] = []
        messages = 0
        for first in range(0, last + 1, STEP):
            if stop.wait(PAUSE):
                break
            rows = db.execute(
                f"select m.id, m.crc = {CRC} from message m where m.id >= ? and m.id < ?",  # noqa: S608 - a constant
                (first, min(first + STEP, last + 1)),
            ).fetchall()
            messages += len(rows)
            damaged += [ident for ident, sound in rows if not sound]
    except sqlite3.DatabaseError as error:
        return Findings(str(error), (), 0)
    finally:
        db.close()
    return Findings(structure, tuple(damaged), messages)


def _structure(db: sqlite3.Connection) -> str:
    rows = [str(row[0]) for row in db.execute("pragma quick_check(5)")]
    return "" if rows == ["ok"] else "; ".join(rows)
