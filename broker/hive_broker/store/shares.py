"""How much of the store is one agent's, and what of it is too much: the oldest."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from .changes import to_json
from .old import PASSING, batches, opened
from .rows import Change

MOST = 1 << 30  # bytes of one agent's events that pass, and as many of those that last
MOST_QUESTIONS = 64 << 20  # bytes of one agent's questions
ROW = 200  # bytes of a row beside its texts

_EVENTS = "from event_agent f join event e on e.id = f.id where f.agent = :uid and e.kind"
_EVENT = f"length(cast(e.data as blob)) + {ROW}"
_TEXTS = " + ".join(
    f"length(cast(coalesce({column}, '') as blob))"
    for column in ("text", "options", "answer", "permission")
)
_QUESTIONS = f"select id, {_TEXTS} + {ROW} as size from question where agent = :uid"  # noqa: S608 - constants


def excess_events(path: Path, uid: str, most: int) -> Iterator[list[int]]:
    """Ids of the agent's events that have `most` bytes of its newer ones, of those that pass
    and of those that last. Reads all that the agent has: for seldom use."""
    db = opened(path)
    try:
        for which in (f"{_EVENTS} in {PASSING}", f"{_EVENTS} not in {PASSING}"):
            upto = _upto(db, f"select f.id as id, {_EVENT} as size {which}", uid, most)
            values = {"uid": uid, "upto": upto}
            yield from _found(db, f"select f.id {which} and f.id <= :upto order by 1", values)
    finally:
        db.close()


def excess_questions(path: Path, uid: str, most: int) -> Iterator[list[int]]:
    """Ids of the agent's questions that have `most` bytes of newer ones, but for open ones."""
    db = opened(path)
    try:
        upto = _upto(db, _QUESTIONS, uid, most)
        which = "from question where agent = :uid and id <= :upto and state <> 'open'"
        yield from _found(db, f"select id {which} order by 1", {"uid": uid, "upto": upto})
    finally:
        db.close()


def drop_questions(idents: list[int]) -> tuple[Change, ...]:
    return (
        (
            "delete from question where state <> 'open' and id in (select value from json_each(?))",
            (to_json(idents),),
        ),
    )


def _upto(db: sqlite3.Connection, rows: str, uid: str, most: int) -> int:
    """The newest of the `rows` (id, size) that has too much from itself on."""
    query = (
        "select coalesce(max(id), 0) from"  # noqa: S608 - of constants
        f" (select id, sum(size) over (order by id desc) as newer from ({rows}))"
        " where newer > :most"
    )
    return int(db.execute(query, {"uid": uid, "most": most}).fetchone()[0])


def _found(db: sqlite3.Connection, query: str, values: dict[str, object]) -> Iterator[list[int]]:
    yield from batches([row[0] for row in db.execute(query, values)])
