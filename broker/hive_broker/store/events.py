"""The event history on disk: what a row says, and how one agent's rows are found.

Rows of an agent are found by the table `event_agent` up to a mark; behind it, where a few
thousand events at most are not filed yet, by looking at each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import orjson

from .checksum import DAMAGED, SOUND, text
from .rows import StoredEvent, said_of_message

_TEXTS = ", ".join(
    f"cast(m.{part} as blob)" for part in ("sender_name", "recipient", "kind", "body")
)
OF_MESSAGE = f"message_event(e.message, {_TEXTS}, m.thread, m.in_reply_to, {SOUND})"
"""The data of an event `e` of a message `m`; on connections that were taught."""

_COLUMNS = (
    "select e.id, e.agent, e.seq, e.turn, e.kind,"
    f" case when e.message is null then e.data else {OF_MESSAGE} end, e.at"
)
_MESSAGE = "left join message m on m.id = e.message"
ALL = f"{_COLUMNS} from event e {_MESSAGE}"
FILED = f"{_COLUMNS} from event_agent f join event e on e.id = f.id {_MESSAGE}"
MARK = "select coalesce((select v from meta where k = 'filed'), 0)"


def stored(row: Sequence[Any]) -> StoredEvent:
    """The event in a row of `ALL` or `FILED`."""
    ident, agent, seq, turn, kind, data, at = row
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:  # a flipped bit: all others are to be read all the same
        said = {"damaged": True}
    return StoredEvent(ident, agent, seq, turn, kind, said, at, len(data))


def filed(db: sqlite3.Connection) -> int:
    """All events up to this id are in `event_agent`."""
    return int(db.execute(MARK).fetchone()[0])


def file(db: sqlite3.Connection, after: int, upto: int) -> None:
    db.execute(
        "insert into event_agent select coalesce(agent, ''), id from event"
        " where id > ? and id <= ? order by 1, 2",
        (after, upto),
    )
    db.execute("insert or replace into meta values('filed', ?)", (upto,))


def last_of_each(db: sqlite3.Connection) -> dict[str | None, tuple[int, int]]:
    """Id and number of the last event of each agent; under None of those of no agent."""
    agents = ["", *(row[0] for row in db.execute("select uid from agent"))]
    found: dict[str | None, tuple[int, int]] = {}
    for agent in agents:
        for row in db.execute(
            "select e.id, e.seq from event_agent f join event e on e.id = f.id"
            " where f.agent = ? order by f.id desc limit 1",
            (agent,),
        ):
            found[agent or None] = row
    behind = db.execute("select agent, id, seq from event where id > ? order by id", (filed(db),))
    return found | {agent: (ident, seq) for agent, ident, seq in behind}


def _of_message(ident: int, *found: Any) -> str:
    *texts, thread, in_reply_to, sound = found
    shown = [text(part) for part in texts] if sound else ["?", "?", "damaged", DAMAGED]
    return orjson.dumps(said_of_message(ident, shown, thread, in_reply_to)).decode()


FUNCTION = ("message_event", 8, _of_message)
"""For `create_function`."""
