"""Sessions and users on disk, so that a restart logs nobody out. One thread owns the connection."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from .sessions import ABSOLUTE, Session
from .users import User

T = TypeVar("T")
VERSION = 3
_USERS = """
CREATE TABLE user (
  name TEXT PRIMARY KEY, view_only INTEGER NOT NULL, added REAL NOT NULL
) STRICT, WITHOUT ROWID;
"""
_SCHEMA = """
CREATE TABLE session (
  id TEXT PRIMARY KEY, user TEXT NOT NULL, view_only INTEGER NOT NULL,
  created REAL NOT NULL, seen REAL NOT NULL, agent TEXT NOT NULL, uid INTEGER
) STRICT, WITHOUT ROWID;
"""
_FROM_1 = """
INSERT INTO user SELECT user, min(view_only), min(created) FROM session GROUP BY user;
"""
# Whose browser began a session was not noted: everybody logs in again.
_FROM_2 = """
DELETE FROM session;
ALTER TABLE session ADD COLUMN uid INTEGER;
PRAGMA user_version = 3;
"""


class StoreError(Exception):
    """The file cannot be used; the message says why and what to do."""


class Store:
    def __init__(self, directory: Path) -> None:
        self._path = directory / "sessions.sqlite"
        self._thread = ThreadPoolExecutor(1, "sessions")
        self._db: sqlite3.Connection | None = None

    async def open(self, now: float) -> tuple[list[Session], list[User]]:
        """Opens or makes the file; its sessions that are not too old, and its users.

        Raises StoreError.
        """
        return await self._run(lambda: self._open(now))

    async def put(self, row: Session) -> None:
        values = (row.id, row.user, row.view_only, row.created, row.seen, row.agent, row.uid)
        await self._run(
            lambda: self._do("INSERT OR REPLACE INTO session VALUES (?,?,?,?,?,?,?)", values)
        )

    async def drop(self, ident: str) -> None:
        await self._run(lambda: self._do("DELETE FROM session WHERE id = ?", (ident,)))

    async def put_user(self, row: User) -> None:
        values = (row.name, row.view_only, row.added)
        await self._run(lambda: self._do("INSERT OR REPLACE INTO user VALUES (?,?,?)", values))

    async def drop_user(self, name: str) -> None:
        await self._run(lambda: self._do("DELETE FROM user WHERE name = ?", (name,)))

    async def close(self) -> None:
        await self._run(self._close)
        self._thread.shutdown(wait=False)  # it is idle

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open(self, now: float) -> tuple[list[Session], list[User]]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            db = sqlite3.connect(self._path)
            db.execute("PRAGMA journal_mode = WAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.executescript(
                    f"BEGIN; {_SCHEMA} {_USERS} PRAGMA user_version = {VERSION}; COMMIT;"
                )
            elif version == 1:  # whoever has a session is a user
                db.executescript("BEGIN;" + _USERS + _FROM_1 + _FROM_2 + "COMMIT;")
            elif version == 2:
                db.executescript("BEGIN;" + _FROM_2 + "COMMIT;")
            elif version != VERSION:
                raise StoreError(
                    f"{self._path} was written by another version ({version}, this one knows "
                    f"{VERSION}); remove it, everyone logs in again"
                )
            with db:
                db.execute("DELETE FROM session WHERE created < ?", (now - ABSOLUTE,))
            rows = db.execute("SELECT id, user, view_only, created, seen, agent, uid FROM session")
            found = [Session(r[0], r[1], bool(r[2]), *r[3:]) for r in rows]
            rows = db.execute("SELECT name, view_only, added FROM user")
            users = [User(r[0], bool(r[1]), r[2]) for r in rows]
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{self._path} cannot be used ({error}); remove it, everyone logs in again"
            ) from None
        self._db = db
        return found, users

    def _do(self, statement: str, values: tuple[object, ...]) -> None:
        assert self._db is not None
        with self._db:
            self._db.execute(statement, values)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
