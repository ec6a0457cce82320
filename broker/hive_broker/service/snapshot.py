"""A copy of the database at one moment, for a backup."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from hive_wire.rpc_errors import UNAVAILABLE, RpcError

from ..store.ballast import room
from .broker import Broker

SPARE = 16 << 20  # bytes of the disk that a copy leaves to what comes meanwhile


class Snapshot:
    """One at a time, beside the database: whoever asked copies it and drops it."""

    def __init__(self, broker: Broker) -> None:
        self._path = broker.path
        self._copy = broker.path.with_name("snapshot.db")
        self._beside = broker.path.with_name("snapshot.db.new")
        self._lock = asyncio.Lock()

    async def make(self) -> Path:
        """Everything acknowledged so far is in it. Raises RpcError(UNAVAILABLE)."""
        async with self._lock:
            try:
                await asyncio.to_thread(self._make)
            except (OSError, sqlite3.Error) as error:
                await asyncio.to_thread(self._remove)
                raise RpcError(UNAVAILABLE, f"no copy of the database: {error}") from None
            return self._copy

    async def drop(self) -> None:
        async with self._lock:
            await asyncio.to_thread(self._remove)

    def _make(self) -> None:
        """Under its name only once it is whole: another backup may be copying what has that."""
        self._remove()
        source = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)
        with closing(source):
            self._check_room(source)
            with closing(sqlite3.connect(self._beside)) as copy:
                source.backup(copy)
                copy.execute("pragma journal_mode=delete")
        self._beside.rename(self._copy)

    def _check_room(self, source: sqlite3.Connection) -> None:
        """Raises OSError. A full disk would stop all others."""
        [(pages,)], [(size,)] = (
            source.execute(f"pragma page_{what}").fetchall() for what in ("count", "size")
        )
        left = room(self._path.parent)
        if left < pages * size + SPARE:
            raise OSError(
                f"it takes {pages * size >> 20} MiB of the disk of {self._path.parent}, "
                f"which has {left >> 20} MiB left: free some space"
            )

    def _remove(self) -> None:
        for file in (self._copy, self._beside):
            file.unlink(missing_ok=True)
