"""The broker's store alone: a database, its writer, and messages to put in."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

from hive_broker.store.ballast import Ballast
from hive_broker.store.database import open_for_writing
from hive_broker.store.highwater import HighWater
from hive_broker.store.rows import NewMessage, StoredEvent
from hive_broker.store.writer import Writer

A, B = "a" * 12, "b" * 12


def message(ident: int, *to: str, key: str | None = None, body: str = "hello") -> NewMessage:
    return NewMessage(
        id=ident, sender=A, sender_name="alice", to="bob", kind="text", body=body,
        thread=ident, at=1.0, recipients=to, key=key,
    )  # fmt: skip


class Store:
    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path, self.db = path, db
        self.events: list[StoredEvent] = []
        self.high = HighWater(path.with_name("highwater"))
        self.health = asyncio.Event()
        self.writer = Writer(
            db,
            last=self.high.marks,
            sequences={},
            high=self.high,
            ballast=Ballast(path.with_name("ballast")),
            on_events=self.events.extend,
            on_health=self.health.set,
        )

    @classmethod
    async def open(cls, path: Path) -> Store:
        return cls(path, await asyncio.to_thread(open_for_writing, path))

    async def rows(self, query: str, *values: object) -> list[Any]:
        def read() -> list[Any]:
            db = sqlite3.connect(self.path)
            try:
                return db.execute(query, values).fetchall()
            finally:
                db.close()

        return await asyncio.to_thread(read)
