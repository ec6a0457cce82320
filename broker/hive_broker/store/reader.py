"""Reads from disk for history, pages and whatever memory does not hold. Never writes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiosqlite
import orjson

from hive_wire.pages import fitting

from ..core.questions import Question
from . import events, load
from .checksum import DAMAGED, SOUND, Damaged, text
from .rows import StoredEvent
from .teaching import FUNCTIONS, teach

_COLUMNS = (
    "m.id, m.sender_name, m.recipient, m.kind, {body}, m.data, m.thread, m.in_reply_to, m.at,"
    f" {SOUND}"
)
_MESSAGE = f"select {_COLUMNS.format(body='m.body')} from message m"  # noqa: S608 - constants

PERMISSION = "select * from question where agent=? and ask=? order by id desc limit 1"


@dataclass(frozen=True, slots=True)
class Grave:
    """A dead letter: its message to one agent, and when it was given up."""

    uid: str
    done: float
    counted: int
    cause: str
    message: dict[str, Any]

    @property
    def place(self) -> str:
        """Where it lies among the others, as DEAD_AFTER has it."""
        return f"{self.done!r}:{self.message['id']}:{self.uid}"


@dataclass(frozen=True, slots=True)
class Span:
    """A page of rows by id: the first `limit` behind `after`, else the last before `before`."""

    limit: int
    after: int | None = None
    before: int | None = None


class Reader:
    """One read-only connection, in its own thread. `path` is absolute."""

    def __init__(self, db: aiosqlite.Connection, path: Path) -> None:
        self._db = db
        self._path = path
        self._scanning = asyncio.Lock()  # one at a time: each takes a processor

    @classmethod
    async def open(cls, path: Path) -> Reader:
        uri = f"{path.as_uri()}?mode=ro"
        db = await aiosqlite.connect(uri, uri=True, isolation_level=None)
        for name, arguments, function in FUNCTIONS:
            await db.create_function(name, arguments, function, deterministic=True)
        db.text_factory = text
        return cls(db, path)

    async def close(self) -> None:
        await self._db.close()

    # -- messages --------------------------------------------------------------

    async def message(self, ident: int) -> dict[str, Any] | None:
        """The message as JSON, whoever it is for. Raises Damaged."""
        rows = await self._db.execute_fetchall(f"{_MESSAGE} where id=?", (ident,))
        for row in rows:
            if not row[-1]:
                raise Damaged(ident)
            return _message(row)
        return None

    async def sender(self, ident: int) -> str:
        """The uid of who sent a message; `operator` and `system` are such, too."""
        rows = await self._db.execute_fetchall("select sender from message where id=?", (ident,))
        return next((str(row[0]) for row in rows), "")

    async def concerns(self, ident: int, uid: str) -> int | None:
        """The thread of a message that `uid` sent or was sent; None when it is no such."""
        rows = await self._db.execute_fetchall(
            "select thread from message m where id=? and (sender=? or exists"
            " (select 1 from delivery d where d.agent=? and d.message=m.id))",
            (ident, uid, uid),
        )
        return next((int(row[0]) for row in rows), None)

    async def messages(self, peer: str | None, span: Span) -> list[dict[str, Any]]:
        """A page of the flow, oldest first; `peer` sent them or got them."""
        if peer is None:
            rows = await self._page(_MESSAGE, ["1"], [], span)
        else:
            where = ["(m.sender_name=? or m.recipient=?)"]
            rows = await self._scan(lambda db: _page(db, _MESSAGE, where, [peer, peer], span))
        return within((_message(row) for row in rows), newest=span.after is None)

    async def inbox(self, span: Span) -> list[dict[str, Any]]:
        """A page of what was sent to the operator, oldest first."""
        rows = await self._page(_MESSAGE, ["recipient='operator'"], [], span)
        return within((_message(row) for row in rows), newest=span.after is None)

    # -- events ----------------------------------------------------------------

    async def events(
        self,
        uid: str | None,
        span: Span,
        *,
        kinds: Iterable[str] | None = None,
        stream: bool = True,
    ) -> list[StoredEvent]:
        """A page of history, oldest first."""
        where, values = ["1"], list[object]()
        if kinds is not None:
            wanted = list(kinds)
            where.append(f"e.kind in ({','.join('?' * len(wanted))})")
            values += wanted
        if not stream:
            where.append("e.stream=0")
        if uid is None:
            rows = await self._scan(
                lambda db: _page(db, events.ALL, where, values, span, ident="e.id")
            )
        else:
            rows = await self._scan(lambda db: _of_agent(db, uid, where, values, span))
        return [events.stored(row) for row in rows]

    # -- questions, dead letters -----------------------------------------------

    async def question(self, ident: int) -> Question | None:
        rows = await self._db.execute_fetchall("select * from question where id=?", (ident,))
        return next((load.question(row) for row in rows), None)

    async def permission(self, uid: str, key: str) -> Question | None:
        """The newest ask of the agent under that key."""
        rows = await self._db.execute_fetchall(PERMISSION, (uid, key))
        return next((load.question(row) for row in rows), None)

    async def questions(
        self, only_open: bool, limit: int, after: int | None = None
    ) -> list[Question]:
        """Open ones oldest first; else all, newest first; behind the one with the id `after`."""
        query, first = (
            ("select * from question where state='open' and id > ? order by id limit ?", 0)
            if only_open
            else ("select * from question where id < ? order by id desc limit ?", 1 << 62)
        )
        values = (first if after is None else after, limit)
        return [load.question(row) for row in await self._db.execute_fetchall(query, values)]

    async def soonest(self, limit: int) -> list[Question]:
        """The open questions that end first; what does not end comes last, the oldest first."""
        query = "select * from question where state='open' order by expires is null, expires, id limit ?"
        return [load.question(row) for row in await self._db.execute_fetchall(query, (limit,))]

    async def dead(self, limit: int, after: str | None = None) -> list[Grave]:
        """Live agents' dead letters, those given up last first; behind the place `after`."""
        behind, values = "", list[object]()
        if after is not None:
            done, message, uid = after.split(":")
            behind = " and (d.done, d.message, d.agent) < (?, ?, ?)"
            values = [float(done), int(message), uid]
        rows = await self._db.execute_fetchall(
            "select d.agent, d.done, d.counted, d.cause,"  # noqa: S608 - constants
            f" {_COLUMNS.format(body='substr(m.body, 1, 2000)')}"
            " from delivery d join message m on m.id = d.message"
            f" where d.state=3 and d.agent in (select uid from agent where retired is null){behind}"
            " order by d.done desc, d.message desc, d.agent desc limit ?",
            (*values, limit),
        )
        return [Grave(row[0], row[1], row[2], row[3], _message(row[4:])) for row in rows]

    async def dead_attempt(self, uid: str, message: int) -> int | None:
        """The attempt a dead letter would make next; None when it is not dead."""
        rows = await self._db.execute_fetchall(
            "select attempt from delivery where agent=? and message=? and state=3", (uid, message)
        )
        return next((int(row[0]) for row in rows), None)

    # -- agents ----------------------------------------------------------------

    async def is_metered(self, uid: str, at: float) -> bool:
        """Whether the gateway's report of that time is stored."""
        rows = await self._db.execute_fetchall(
            "select 1 from metered where agent=? and at=?", (uid, at)
        )
        return bool(list(rows))

    async def agent_state(self, uid: str, now: float) -> load.AgentState:
        """Everything open of one agent. Raises LookupError for a uid never seen."""

        def read() -> load.AgentState:
            db = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)
            try:
                return load.agent_state(db, uid, now)
            finally:
                db.close()

        return await asyncio.to_thread(read)

    async def _page(
        self, select: str, where: list[str], values: list[object], span: Span
    ) -> list[Any]:
        query, values = _paged(select, where, values, span, "m.id")
        return _in_order(list(await self._db.execute_fetchall(query, values)), span)

    async def _scan(self, read: Callable[[sqlite3.Connection], list[Any]]) -> list[Any]:
        """Beside all other reads: where few rows are wanted, it looks at all there are. An index
        would cost each commit a page for every agent in it."""

        def scan() -> list[Any]:
            db = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)
            try:
                teach(db)
                return read(db)
            finally:
                db.close()

        async with self._scanning:
            return await asyncio.to_thread(scan)


def _page(
    db: sqlite3.Connection,
    select: str,
    where: list[str],
    values: list[object],
    span: Span,
    *,
    ident: str = "m.id",
) -> list[Any]:
    query, values = _paged(select, where, values, span, ident)
    return _in_order(list(db.execute(query, values)), span)


def _of_agent(
    db: sqlite3.Connection, uid: str, where: list[str], values: list[object], span: Span
) -> list[Any]:
    """From both sides of the mark that there was at first: it may move meanwhile."""
    [(mark,)] = db.execute(events.MARK)
    values = [*values, uid, mark]
    filed = (events.FILED, [*where, "f.agent=?", "f.id<=?"], "f.id")
    behind = (events.ALL, [*where, "e.agent=?", "e.id>?"], "e.id")
    forward = span.after is not None
    rows: list[Any] = []
    for select, limits, ident in (filed, behind) if forward else (behind, filed):
        if len(rows) < span.limit:
            left = replace(span, limit=span.limit - len(rows))
            found = _page(db, select, limits, values, left, ident=ident)
            rows = [*rows, *found] if forward else [*found, *rows]
    return rows


def _paged(
    select: str, where: list[str], values: list[object], span: Span, ident: str
) -> tuple[str, list[object]]:
    if span.after is not None:
        where, values = [*where, f"{ident}>?"], [*values, span.after]
    if span.before is not None:
        where, values = [*where, f"{ident}<?"], [*values, span.before]
    order = "desc" if span.after is None else "asc"
    query = f"{select} where {' and '.join(where)} order by {ident} {order} limit ?"
    return query, [*values, span.limit]


def _in_order(rows: list[Any], span: Span) -> list[Any]:
    """Oldest first."""
    return rows[::-1] if span.after is None else rows


def _message(row: Any) -> dict[str, Any]:
    """The message of a row of `_COLUMNS`; of a damaged one nothing that might be wrong."""
    ident, sender, to, kind, body, data, thread, in_reply_to, at, sound = row
    if not sound:
        sender, to, kind, body, data = "?", "?", "damaged", DAMAGED, None
    return {
        "id": ident,
        "sender": sender,
        "to": to,
        "kind": kind,
        "body": body,
        "data": None if data is None else orjson.loads(data),
        "thread": thread,
        "in_reply_to": in_reply_to,
        "at": at,
    }


def within(rows: Iterable[dict[str, Any]], *, newest: bool) -> list[dict[str, Any]]:
    """As many as one answer holds; of a page from the end, the newest ones."""
    if not newest:
        return fitting(rows)[0]
    return fitting(reversed(list(rows)))[0][::-1]
