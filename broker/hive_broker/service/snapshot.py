"""A copy of the database at one moment, for a backup."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from hive_wire.rpc_errors import UNAVAILABLE, RpcError

from .broker import Broker


class Snapshot:
    """One at a time, beside the database: whoever asked copies it and drops it."""

    def __init__(self, broker: Broker) -> None:
        self._path = broker.path
        self._copy = broker.path.with_name("snapshot.db")
        self._lock = asyncio.Lock()

    async def make(self) -> Path:
        """Everything acknowledged so far is in it. Raises RpcError(UNAVAILABLE)."""
        async with self._lock:
            try:
                await asyncio.to_thread(self._make)
            except (OSError, sqlite3.Error) as error:
                await self._unlink()
                raise RpcError(UNAVAILABLE, f"no copy of the database: {error}") from None
            return self._copy

    async def drop(self) -> None:
        async with self._lock:
            await self._unlink()

    async def _unlink(self) -> None:
        await asyncio.to_thread(self._copy.unlink, missing_ok=True)

    def _make(self) -> None:
        self._copy.unlink(missing_ok=True)
        source = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)
        with closing(source), closing(sqlite3.connect(self._copy)) as copy:
            source.backup(copy)
            copy.execute("pragma journal_mode=delete")
