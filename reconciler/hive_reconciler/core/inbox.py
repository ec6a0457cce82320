"""Brings in what people push to inbox.git, beside the loop: a large push delays no agent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from ..git.errors import HiveError
from ..git.hive import Hive
from ..git.watch import Watch

log = logging.getLogger(__name__)

RESYNC = 60.0  # seconds


class Inbox:
    """`on_change` is called when proposals were made of what came."""

    def __init__(self, hive: Hive, inbox_git: Path, on_change: Callable[[], None]) -> None:
        self._hive = hive
        self._on_change = on_change
        self._hint = asyncio.Event()
        self._watch = Watch((inbox_git,), self._hint.set)

    async def run(self) -> None:
        """Until cancelled. What cannot be read now is tried again."""
        try:
            while True:
                await self._look()
                try:
                    async with asyncio.timeout(RESYNC):
                        await self._hint.wait()
                except TimeoutError:
                    continue
        finally:
            await asyncio.to_thread(self._watch.stop)

    async def _look(self) -> None:
        self._hint.clear()
        try:
            await asyncio.to_thread(self._watch.start)
            if await self._hive.import_inbox():
                self._on_change()
        except (HiveError, OSError) as error:
            log.warning("inbox.git: %s", error)
