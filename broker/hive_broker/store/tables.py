"""Puts units into the tables, all of a batch in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from . import events
from .changes import to_json
from .checksum import message_crc
from .highwater import Marks
from .inserting import Insert
from .rows import (
    MESSAGE,
    MESSAGE_SIZE,
    STREAM_KINDS,
    Holder,
    NewMessage,
    StoredEvent,
    Unit,
    Written,
)

FILE_AT = 4096  # events that `event_agent` may lack


class Tables:
    """`last`: the highest ids on disk; `sequences`: the last number of each history."""

    def __init__(
        self, db: sqlite3.Connection, last: Marks, sequences: dict[str | None, int]
    ) -> None:
        self._db = db
        self._last_message, self._last_event = last.message, last.event
        self._sequences = sequences
        self._filed: int | None = None  # read with the first commit

    @property
    def last(self) -> Marks:
        return Marks(self._last_message, self._last_event)

    def commit(self, units: Sequence[Unit]) -> Written:
        """All of them on disk, in their order; whatever it raises, none is."""
        before, sequences, filed = self.last, self._sequences, self._filed
        self._sequences = dict(sequences)
        try:
            self._db.execute("begin immediate")
            written = self._write(units)
            self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            self._last_message, self._last_event = before.message, before.event
            self._sequences, self._filed = sequences, filed
            raise
        return written

    def close(self) -> None:
        self._db.close()

    def _write(self, units: Sequence[Unit]) -> Written:
        db = self._db
        messages = [message for unit in units for message in unit.messages]
        held: dict[int, Holder] = {}
        if _MESSAGES(db, [_message_row(m) for m in messages]) != len(messages):
            held = self._held(messages)
            units = [u for u in units if not u.messages or u.messages[0].id not in held]
            messages = [message for unit in units for message in unit.messages]
        if messages:
            self._last_message = max(self._last_message, *[m.id for m in messages])
            _DELIVERIES(
                db, [(uid, m.id, m.not_before, m.hops) for m in messages for uid in m.recipients]
            )
        found, rows = self._numbered(units)
        _EVENTS(db, rows)
        self._file()
        for unit in units:
            for statement, parameters in unit.changes:
                db.execute(statement, parameters).fetchall()
        return Written(found, held)

    def _file(self) -> None:
        """Now and then: what came since belongs to its agents' histories."""
        if self._filed is None:
            self._filed = events.filed(self._db)
        if self._last_event - self._filed >= FILE_AT:
            events.file(self._db, self._filed, self._last_event)
            self._filed = self._last_event

    def _held(self, messages: Iterable[NewMessage]) -> dict[int, Holder]:
        """From the ids that were not taken, because of their key, to who holds it."""
        found: dict[int, Holder] = {}
        for message in messages:
            if message.key is None:
                continue
            row = self._db.execute(
                "select id, thread from message where sender=? and key=?",
                (message.sender, message.key),
            ).fetchone()
            if row[0] != message.id:
                found[message.id] = row
        return found

    def _numbered(
        self, units: Sequence[Unit]
    ) -> tuple[list[StoredEvent], list[tuple[object, ...]]]:
        """The events of the units with their numbers, a unit's messages first, and their rows."""
        found: list[StoredEvent] = []
        rows: list[tuple[object, ...]] = []
        for unit in units:
            for m in unit.messages:
                agent = m.page
                ident, seq = self._next(agent)
                rows.append((ident, agent, seq, None, MESSAGE, 0, "", m.at, m.id))
                found.append(StoredEvent(ident, agent, seq, None, MESSAGE, m, m.at, MESSAGE_SIZE))
            for e in unit.events:
                ident, seq = self._next(e.agent)
                data = to_json(e.data)
                stream = int(e.kind in STREAM_KINDS)
                rows.append((ident, e.agent, seq, e.turn, e.kind, stream, data, e.at, None))
                found.append(
                    StoredEvent(ident, e.agent, seq, e.turn, e.kind, e.data, e.at, len(data))
                )
        return found, rows

    def _next(self, agent: str | None) -> tuple[int, int]:
        self._last_event += 1
        seq = self._sequences[agent] = self._sequences.get(agent, 0) + 1
        return self._last_event, seq


_MESSAGES = Insert(
    "message",
    "id, sender, sender_name, recipient, kind, body, data, thread, in_reply_to, key, at, crc",
    "on conflict do nothing",
)
_DELIVERIES = Insert("delivery", "agent, message, not_before, hops")
_EVENTS = Insert("event", "id, agent, seq, turn, kind, stream, data, at, message")


def _message_row(m: NewMessage) -> tuple[object, ...]:
    data = None if m.data is None else to_json(m.data)
    crc = message_crc(m.sender, m.sender_name, m.to, m.kind, m.body, data)
    return (
        *(m.id, m.sender, m.sender_name, m.to, m.kind, m.body, data),
        *(m.thread, m.in_reply_to, m.key, m.at, crc),
    )
