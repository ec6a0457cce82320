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
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, overload

from hive_wire.rpc_errors import BUSY, UNAVAILABLE, RpcError

from .ballast import Ballast
from .committing import Committing, Counts, DiskFull, Outcome
from .highwater import HighWater, Marks
from .rows import Holder, StoredEvent, Unit

log = logging.getLogger(__name__)

MAX_BATCH = 1000
MAX_BATCH_BYTES = 4 << 20
MAX_PENDING = 10_000
MAX_PENDING_BYTES = 64 << 20
UNIT_BYTES = 200  # what a unit takes beside its bodies

T = TypeVar("T")
Then = Callable[[Holder | None], Any]
"""What follows a commit; given who had the key of the unit's message before, if anyone."""
Failed = Callable[[RpcError], Any]


class _Job(NamedTuple):
    unit: Unit
    size: int
    then: Then
    failed: Failed


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
        self._committing = Committing(db, last, sequences, high, ballast)
        self.full = False
        self.corrupt: str | None = None
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

    def put(self, unit: Unit, then: Then, failed: Failed) -> None:
        """Queue `unit`. `then` runs on the loop right after its commit, before any later
        unit's; or `failed`, with UNAVAILABLE, when the disk refuses.

        Raises RpcError(BUSY) when too much waits.
        """
        size = UNIT_BYTES
        for message in unit.messages:
            size += len(message.body)
        if self._pending >= MAX_PENDING or self._pending_bytes + size > MAX_PENDING_BYTES:
            raise RpcError(BUSY, "more comes in than the disk takes; try again in a second")
        self._pending += 1
        self._pending_bytes += size
        self._next.append(_Job(unit, size, then, failed))
        if not self._busy:
            self._busy = True
            self._idle.clear()
            self._loop.call_soon(self._kick)

    @overload
    def submit(self, unit: Unit) -> asyncio.Future[Holder | None]: ...

    @overload
    def submit(self, unit: Unit, then: Callable[[Holder | None], T]) -> asyncio.Future[T]: ...

    def submit(self, unit: Unit, then: Then = lambda held: held) -> asyncio.Future[Any]:
        """As `put`, for whoever waits or stops waiting: the future has what `then` returned,
        or fails."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def done(held: Holder | None) -> None:
            try:
                result = then(held)
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
                raise
            if not future.done():
                future.set_result(result)

        def failed(error: RpcError) -> None:
            if not future.done():
                future.set_exception(error)

        self.put(unit, done, failed)
        return future

    @property
    def pending(self) -> int:
        """Units that are not on disk yet."""
        return self._pending

    @property
    def last(self) -> Marks:
        """The highest ids on disk."""
        return self._committing.last

    @property
    def counts(self) -> Counts:
        return self._committing.counts

    def post(self, unit: Unit) -> asyncio.Future[Any] | None:
        """Queue `unit` without waiting; a failure is logged. None when too much waits."""
        try:
            future = self.submit(unit)
        except RpcError as error:
            log.error("not recorded: %s", error)
            return None
        future.add_done_callback(_log_failure)
        return future

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

    def _done(self, batch: list[_Job], outcome: Outcome) -> None:
        """While it begins, nothing is at the disk."""
        full, corrupt = self._committing.full, self._committing.corrupt
        if self._next:
            self._kick()
        else:
            self._busy = False
            self._idle.set()
        if (full, corrupt) != (self.full, self.corrupt):
            self.full, self.corrupt = full, corrupt
            self._on_health()
        self._pending -= len(batch)
        for place, job in enumerate(batch):
            self._pending_bytes -= job.size
            if outcome.errors and place in outcome.errors:
                self._refused(job, outcome.errors[place])
            else:
                self._stored(job, outcome.held)
        if outcome.events:
            self._on_events(outcome.events)

    def _stored(self, job: _Job, held: dict[int, Holder]) -> None:
        messages = job.unit.messages
        holder = held.get(messages[0].id) if held and messages else None
        try:
            job.then(holder)
        except Exception:
            log.exception("what follows a commit failed")

    def _refused(self, job: _Job, error: Exception) -> None:
        if not isinstance(error, DiskFull):
            log.error("the database refused a write: %s", error)
        words = f"the broker's database refused it ({error}); nothing was stored"
        job.failed(RpcError(UNAVAILABLE, words))

    # -- in the thread ---------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            outcome = self._committing.commit([job.unit for job in batch])
            self._loop.call_soon_threadsafe(self._done, batch, outcome)
        self._committing.close()


def _log_failure(future: asyncio.Future[Any]) -> None:
    if not future.cancelled() and future.exception() is not None:
        log.error("not recorded: %s", future.exception())
