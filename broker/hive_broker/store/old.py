"""What is old enough to go: found beside the writer, a little at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ..core.retention import Mark
from .changes import to_json
from .rows import Change

ROWS = 200  # of one transaction
IDS = 5000  # a look


def marks(path: Path) -> tuple[float, tuple[Mark, ...]]:
    """The age that the store had when it was last written down, and its marks."""
    db = _open(path)
    try:
        row = db.execute("select v from meta where k='lived'").fetchone()
        found = db.execute("select lived, message, event from mark order by lived")
        return (0.0 if row is None else float(row[0])), tuple(Mark(*mark) for mark in found)
    finally:
        db.close()


def old_rows(path: Path, upto: int) -> Iterator[list[int]]:
    """Ids of stream rows up to an id, but the last one of each agent: its number counts on."""
    db = _open(path)
    try:
        agents = [row[0] for row in db.execute("select uid from agent")]
        last = {
            db.execute("select max(id) from event where agent is ?", (agent,)).fetchone()[0]
            for agent in (None, *agents)
        }
        last.add(db.execute("select max(id) from event").fetchone()[0])
        for first in range(0, upto + 1, IDS):
            rows = db.execute(
                "select id from event where id >= ? and id < ? and stream=1",
                (first, min(first + IDS, upto + 1)),
            ).fetchall()
            yield from _batches([row[0] for row in rows if row[0] not in last])
    finally:
        db.close()


def old_messages(path: Path, upto: int) -> Iterator[list[int]]:
    """Ids of messages up to an id that nobody waits for. What the system said under a key
    stays, so that it is never said twice."""
    db = _open(path)
    try:
        kept = {row[0] for row in db.execute("select message from delivery where state=0")}
        kept |= {row[0] for row in db.execute("select message from delivery where state=3")}
        kept.add(db.execute("select max(id) from message").fetchone()[0])
        for first in range(0, upto + 1, IDS):
            rows = db.execute(
                "select id from message where id >= ? and id < ?"
                " and (key is null or sender <> 'system')",
                (first, min(first + IDS, upto + 1)),
            ).fetchall()
            yield from _batches([row[0] for row in rows if row[0] not in kept])
    finally:
        db.close()


def drop_rows(idents: list[int]) -> tuple[Change, ...]:
    return (
        (
            "delete from event where stream=1 and id in (select value from json_each(?))",
            (to_json(idents),),
        ),
        ("pragma incremental_vacuum(200)", ()),
    )


def drop_messages(idents: list[int], agents: list[str]) -> tuple[Change, ...]:
    chosen = to_json(idents)
    return (
        *(
            (
                "delete from delivery where agent=? and state=2"
                " and message in (select value from json_each(?))",
                (agent, chosen),
            )
            for agent in agents
        ),
        (
            "delete from message where id in (select value from json_each(?))",
            (chosen,),
        ),
        ("pragma incremental_vacuum(200)", ()),
    )


def mark(found: Mark, forget_before: float) -> tuple[Change, ...]:
    return (
        ("insert or replace into mark values(?,?,?)", (found.lived, found.message, found.event)),
        ("insert or replace into meta values('lived', ?)", (found.lived,)),
        ("delete from mark where lived < ?", (forget_before,)),
    )


def _batches(idents: list[int]) -> Iterator[list[int]]:
    for first in range(0, len(idents), ROWS):
        yield idents[first : first + ROWS]


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)
