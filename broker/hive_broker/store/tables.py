"""Puts units into the tables, all of a batch in one transaction. Runs in the writer's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from .changes import to_json
from .checksum import message_crc
from .highwater import Marks
from .rows import NewEvent, NewMessage, StoredEvent, Unit, Written


class Tables:
    """`last`: the highest ids on disk; `sequences`: the last number of each history."""

    def __init__(
        self, db: sqlite3.Connection, last: Marks, sequences: dict[str | None, int]
    ) -> None:
        self._db = db
        self._last_message, self._last_event = last.message, last.event
        self._sequences = sequences

    @property
    def last(self) -> Marks:
        return Marks(self._last_message, self._last_event)

    def commit(self, units: Sequence[Unit]) -> list[Written]:
        """What became of each unit, once all are on disk; whatever it raises, none is."""
        before, sequences = self.last, dict(self._sequences)
        try:
            self._db.execute("begin immediate")
            written = self._write(units)
            self._db.execute("commit")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("rollback")
            self._last_message, self._last_event = before.message, before.event
            self._sequences = sequences
            raise
        return written

    def close(self) -> None:
        self._db.close()

    def _write(self, units: Sequence[Unit]) -> list[Written]:
        db = self._db
        messages = [message for unit in units for message in unit.messages]
        known: dict[int, tuple[int, int]] = {}
        if messages:
            done = db.executemany(_INSERT_MESSAGE, map(_message_row, messages)).rowcount
            if done != len(messages):
                known = self._known(messages)
        fresh = [unit for unit in units if _holder(unit, known) is None]
        db.executemany(
            "insert into delivery(agent, message, not_before, hops) values(?,?,?,?)",
            [
                (uid, m.id, m.not_before, m.hops)
                for unit in fresh
                for m in unit.messages
                for uid in m.recipients
            ],
        )
        ids = (m.id for unit in fresh for m in unit.messages)
        self._last_message = max((self._last_message, *ids))
        rows: list[tuple[object, ...]] = []
        written = [self._written(unit, known, rows) for unit in units]
        db.executemany(_INSERT_EVENT, rows)
        for unit in fresh:
            for statement, parameters in unit.changes:
                db.execute(statement, parameters).fetchall()
        return written

    def _written(
        self, unit: Unit, known: dict[int, tuple[int, int]], rows: list[tuple[object, ...]]
    ) -> Written:
        holder = _holder(unit, known)
        if holder is not None:
            return Written(duplicate=holder)
        return Written(tuple(self._numbered(unit.events, rows)))

    def _known(self, messages: Iterable[NewMessage]) -> dict[int, tuple[int, int]]:
        """From the ids that were not taken, because of their key, to the id and thread of
        the messages that hold it."""
        found: dict[int, tuple[int, int]] = {}
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
        self, events: Iterable[NewEvent], rows: list[tuple[object, ...]]
    ) -> Iterable[StoredEvent]:
        """The events with their numbers; what goes into their table is put into `rows`."""
        for e in events:
            ident = self._last_event = self._last_event + 1
            seq = self._sequences[e.agent] = self._sequences.get(e.agent, 0) + 1
            data = to_json(e.data)
            stored = StoredEvent(ident, e.agent, seq, e.turn, e.kind, e.data, e.at, len(data))
            rows.append((ident, e.agent, seq, e.turn, e.kind, int(stored.stream), data, e.at))
            yield stored


_INSERT_MESSAGE = (
    "insert into message(id, sender, sender_name, recipient, kind, body, data, thread,"
    " in_reply_to, key, at, crc) values(?,?,?,?,?,?,?,?,?,?,?,?) on conflict do nothing"
)
_INSERT_EVENT = (
    "insert into event(id, agent, seq, turn, kind, stream, data, at) values(?,?,?,?,?,?,?,?)"
)


def _message_row(m: NewMessage) -> tuple[object, ...]:
    data = None if m.data is None else to_json(m.data)
    crc = message_crc(m.sender, m.sender_name, m.to, m.kind, m.body, data)
    return (
        *(m.id, m.sender, m.sender_name, m.to, m.kind, m.body, data),
        *(m.thread, m.in_reply_to, m.key, m.at, crc),
    )


def _holder(unit: Unit, known: dict[int, tuple[int, int]]) -> tuple[int, int] | None:
    return known.get(unit.messages[0].id) if unit.messages else None
