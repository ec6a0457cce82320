"""What is old enough to go: found beside the writer, a little at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.retention import Mark
from .changes import to_json
from .events import OF_MESSAGE, last_of_each
from .rows import PASSING_KINDS, Change

ROWS = 200  # of one transaction
IDS = 5000  # a look
WRITE_OUT = 1000  # events of one transaction
PASSING = f"({', '.join(repr(kind) for kind in sorted(PASSING_KINDS))})"


@dataclass(frozen=True, slots=True)
class Kept:
    """What retention goes by: the age that the store had when it was last written down,
    the marks, and up to which event those of messages stand for themselves."""

    lived: float
    marks: tuple[Mark, ...]
    written_out: int


def kept(path: Path) -> Kept:
    db = opened(path)
    try:
        known = dict(db.execute("select k, v from meta where k in ('lived', 'written_out')"))
        found = db.execute("select lived, message, event from mark order by lived")
        marks = tuple(Mark(*mark) for mark in found)
        return Kept(float(known.get("lived", 0)), marks, int(known.get("written_out", 0)))
    finally:
        db.close()


def old_rows(path: Path, upto: int) -> Iterator[list[int]]:
    """Ids of rows up to an id that pass, but the last one of each agent: its number counts on."""
    db = opened(path)
    try:
        last = {ident for ident, _ in last_of_each(db).values()}
        last.add(db.execute("select max(id) from event").fetchone()[0])
        for first in range(0, upto + 1, IDS):
            rows = db.execute(
                f"select id from event where id >= ? and id < ? and kind in {PASSING}",  # noqa: S608 - a constant
                (first, min(first + IDS, upto + 1)),
            ).fetchall()
            yield from batches([row[0] for row in rows if row[0] not in last])
    finally:
        db.close()


def old_messages(path: Path, upto: int) -> Iterator[list[int]]:
    """Ids of messages up to an id that nobody waits for. What the system said under a key
    stays, so that it is never said twice."""
    db = opened(path)
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
            yield from batches([row[0] for row in rows if row[0] not in kept])
    finally:
        db.close()


def drop_rows(idents: list[int]) -> tuple[Change, ...]:
    chosen = to_json(idents)
    return (
        (
            "delete from event_agent where (agent, id) in (select coalesce(agent, ''), id"
            " from event where id in (select value from json_each(?)))",
            (chosen,),
        ),
        ("delete from event where id in (select value from json_each(?))", (chosen,)),
        ("pragma incremental_vacuum(200)", ()),
    )


def write_out(after: int, upto: int) -> tuple[Change, ...]:
    """Events that were read from their messages stand for themselves: the messages may go."""
    return (
        (
            f"update event as e set message=null, data=coalesce((select {OF_MESSAGE} from message m"  # noqa: S608 - a constant
            " where m.id = e.message), '{}') where id > ? and id <= ? and message is not null",
            (after, upto),
        ),
        ("insert or replace into meta values('written_out', ?)", (upto,)),
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


def batches(idents: list[int]) -> Iterator[list[int]]:
    for first in range(0, len(idents), ROWS):
        yield idents[first : first + ROWS]


def opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)
