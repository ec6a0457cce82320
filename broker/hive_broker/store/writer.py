"""The only writer: a thread that commits whatever came in while it was busy.

Group commit without timers. One batch is at the disk; what arrives meanwhile is the
next one, and it goes to the disk before the answers of this one are given.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from hive_wire.jsonrpc import BUSY, UNAVAILABLE, RpcError

from .ballast import Ballast
from .highwater import HighWater, Marks
from .rows import StoredEvent, Unit, Written
from .tables import Tables

log = logging.getLogger(__name__)

MAX_BATCH = 1000
MAX_BATCH_BYTES = 4 << 20
MAX_PENDING = 10_000
MAX_PENDING_BYTES = 64 << 20

T = TypeVar("T")


@dataclass(slots=True)
class _Job:
    unit: Unit
    size: int
    future: asyncio.Future[Any]
    then: Callable[[Written], Any]
    result: Written | Exception | None = None


@dataclass(slots=True)
class Counts:
    """Since the start of the process; `messages` newly stored ones."""

    commits: int = 0
    seconds: float = 0.0  # of the commits, with their fsync
    messages: int = 0
    refused: int = 0


class DiskFull(Exception):
    """There is no room for what is not vital."""

    def __str__(self) -> str:
        return "the host's disk is full"


class Writer:
    """Commits units in the order they come. `sequences`: the last number of each history.

    `on_health` is called when `full` or `corrupt` changed.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        *,
        last: Marks,
        sequences: dict[str | None, int],
        high: HighWater,
        ballast: Ballast,
        on_events: Callable[[Sequence[StoredEvent]], None],
        on_health: Callable[[], None],
    ) -> None:
        self._tables = Tables(db, last, sequences)
        self._high = high
        self._ballast = ballast
        self.full = False
        self.corrupt: str | None = None
        self._saw_corrupt: str | None = None
        self.counts = Counts()
        self._on_health = on_health
        self._on_events = on_events
        self._loop = asyncio.get_running_loop()
        self._next: list[_Job] = []
        self._pending = 0
        self._pending_bytes = 0
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._queue: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    # -- on the loop -----------------------------------------------------------

    @overload
    def submit(self, unit: Unit) -> asyncio.Future[Written]: ...

    @overload
    def submit(self, unit: Unit, then: Callable[[Written], T]) -> asyncio.Future[T]: ...

    def submit(
        self, unit: Unit, then: Callable[[Written], Any] = lambda written: written
    ) -> asyncio.Future[Any]:
        """Queue `unit`. `then` runs on the loop right after its commit, before any later
        unit's, whoever waits or has stopped waiting; what it returns is the future's.

        The future fails with RpcError(UNAVAILABLE) when the disk refuses. Raises
        RpcError(BUSY) when too much waits.
        """
        size = sum(len(message.body) for message in unit.messages) + 200
        if self._pending >= MAX_PENDING or self._pending_bytes + size > MAX_PENDING_BYTES:
            raise RpcError(BUSY, "more comes in than the disk takes; try again in a second")
        job = _Job(unit, size, self._loop.create_future(), then)
        self._pending += 1
        self._pending_bytes += size
        self._next.append(job)
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._kick)
        return job.future

    @property
    def pending(self) -> int:
        """Units that are not on disk yet."""
        return self._pending

    @property
    def last(self) -> Marks:
        """The highest ids on disk."""
        return self._high.marks

    def post(self, unit: Unit) -> None:
        """Queue `unit` without waiting; a failure is logged."""
        try:
            self.submit(unit).add_done_callback(_log_failure)
        except RpcError as error:
            log.error("not recorded: %s", error)

    async def close(self) -> None:
        """Commit what is queued, then end the thread and close the database."""
        await self._idle.wait()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _kick(self) -> None:
        batch, size = self._next[:MAX_BATCH], 0
        for index, job in enumerate(batch):
            size += job.size
            if size > MAX_BATCH_BYTES and index:
                batch = batch[:index]
                break
        self._next = self._next[len(batch) :]
        self._queue.put(batch)

    def _done(self, batch: list[_Job], full: bool, corrupt: str | None) -> None:
        if self._next:
            self._kick()
        else:
            self._busy = False
            self._idle.set()
        if (full, corrupt) != (self.full, self.corrupt):
            self.full, self.corrupt = full, corrupt
            self._on_health()
        for job in batch:
            self._pending -= 1
            self._pending_bytes -= job.size
            self._answer(job)
        events = [e for job in batch if isinstance(job.result, Written) for e in job.result.events]
        if events:
            self._on_events(events)

    def _answer(self, job: _Job) -> None:
        if not isinstance(job.result, Written):
            self.counts.refused += 1
            if not isinstance(job.result, DiskFull):
                log.error("the database refused a write: %s", job.result)
            if not job.future.done():
                job.future.set_exception(
                    RpcError(
                        UNAVAILABLE,
                        f"the broker's database refused it ({job.result}); nothing was stored",
                    )
                )
            return
        if job.result.duplicate is None:
            self.counts.messages += len(job.unit.messages)
        try:
            result = job.then(job.result)
        except Exception as error:
            log.exception("what follows a commit failed")
            if not job.future.done():
                job.future.set_exception(error)
        else:
            if not job.future.done():
                job.future.set_result(result)

    # -- in the thread ---------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            self._ballast.look()
            was_full = self._ballast.full
            if not self._commit(batch) and (len(batch) > 1 or self._ballast.full != was_full):
                for job in batch:  # one bad unit must not fail the others
                    self._commit([job])
            self._loop.call_soon_threadsafe(
                self._done, batch, self._ballast.full, self._saw_corrupt
            )
        self._tables.close()
        self._high.close()

    def _commit(self, batch: list[_Job]) -> bool:
        for job in batch:
            job.result = DiskFull()
        batch = [job for job in batch if job.unit.vital or not self._ballast.full]
        began = time.perf_counter()
        try:
            written = self._tables.commit([job.unit for job in batch])
        except Exception as error:  # noqa: BLE001 - the writer outlives whatever one unit holds
            self._note(error)
            for job in batch:
                job.result = error
            return False
        for job, result in zip(batch, written, strict=True):
            job.result = result
        self.counts.commits += 1
        self.counts.seconds += time.perf_counter() - began
        self._high.raise_to(self._tables.last)
        return True

    def _note(self, error: Exception) -> None:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_FULL:
            self._ballast.ran_out()
        elif code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self._saw_corrupt = str(error)


def _log_failure(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and future.exception() is not None:
        log.error("not recorded: %s", future.exception())
