"""Event history: what was committed goes to every subscription, in order, each once."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import orjson

from hive_wire.jsonrpc import Peer
from hive_wire.pages import ROOM

from ..store.reader import Reader, Span
from ..store.rows import StoredEvent
from .news import News

RECENT_BYTES = 2 << 20
EVENT_BYTES = 1000  # what an event costs in memory beside its data
PAGE = 500
STALLED = 30.0  # seconds without reading, then a subscriber is dropped
REST = 1.0  # seconds before one whose history cannot be read is sent away: it comes back at once

log = logging.getLogger(__name__)


class History:
    """The newest events stay in memory; whoever is further behind reads the disk."""

    def __init__(
        self,
        reader: Reader,
        last: int,
        name_of: Callable[[str | None], str],
        stalled: float = STALLED,
    ) -> None:
        self.last = last
        self._reader = reader
        self._name_of = name_of
        self._recent: deque[StoredEvent] = deque()
        self._recent_bytes = 0
        self._dropped = last  # every newer event is in `_recent`
        self._news = News()
        self._pumps: set[asyncio.Task[None]] = set()
        self._stalled = stalled
        self.dropped = 0  # subscribers

    def committed(self, events: Sequence[StoredEvent]) -> None:
        """Called with each commit's events, in their order."""
        self.last = events[-1].id
        if self._pumps:
            self._keep(events)
        else:  # nobody listens: who comes later reads the disk
            self._recent.clear()
            self._recent_bytes, self._dropped = 0, self.last
        self._news.ring()

    def _keep(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            self._recent.append(event)
            self._recent_bytes += EVENT_BYTES + event.size
        while self._recent_bytes > RECENT_BYTES:
            event = self._recent.popleft()
            self._recent_bytes -= EVENT_BYTES + event.size
            self._dropped = event.id

    @property
    def subscribers(self) -> int:
        return len(self._pumps)

    def as_json(self, event: StoredEvent) -> dict[str, Any]:
        return event.as_json(self._name_of(event.agent))

    def subscribe(self, peer: Peer, after: int | None, uid: str | None, stream: bool) -> int:
        """Send `events` notifications to `peer` from `after` on (None: from now), until
        it closes. Returns the cursor they start behind."""
        cursor = self.last if after is None else min(after, self.last)
        pump = asyncio.create_task(self._pump(peer, cursor, uid, stream))
        self._pumps.add(pump)
        pump.add_done_callback(lambda _: self._ended(pump, peer))
        return cursor

    def _ended(self, pump: asyncio.Task[None], peer: Peer) -> None:
        """A subscriber that will hear of nothing more must not wait for it."""
        self._pumps.discard(pump)
        if not pump.cancelled() and pump.exception() is not None:
            log.error("the history cannot be read: %s", pump.exception())
            asyncio.get_running_loop().call_later(REST, peer.drop)

    def page(self, events: list[StoredEvent], *, newest: bool) -> list[dict[str, Any]]:
        """As many of a page as one answer holds; the newest of them if so asked."""
        chunks = list(self._chunks(events[::-1] if newest else events))
        found = chunks[0] if chunks else []
        return found[::-1] if newest else found

    async def close(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    # -- inside ----------------------------------------------------------------

    async def _pump(self, peer: Peer, cursor: int, uid: str | None, stream: bool) -> None:
        """Pulls from its own cursor: a slow reader delays only itself and costs little. One
        that reads nothing at all is dropped; it comes back and goes on by id."""
        while not peer.closed:
            news, end = self._news.next, self.last
            if cursor >= end:
                await _first_of(news.wait(), peer.gone())
                continue
            events, cursor = await self._behind(cursor, end, uid, stream)
            for chunk in self._chunks(events):
                if not await self._drained(peer):
                    return
                peer.notify("events", {"events": chunk})

    async def _drained(self, peer: Peer) -> bool:
        try:
            async with asyncio.timeout(self._stalled):
                await peer.drained()
        except TimeoutError:
            self.dropped += 1
            peer.drop()
            return False
        return True

    async def _behind(
        self, cursor: int, end: int, uid: str | None, stream: bool
    ) -> tuple[list[StoredEvent], int]:
        """Wanted events behind `cursor` up to `end`, and how far that looked."""
        if cursor >= self._dropped:
            new = itertools.takewhile(lambda event: event.id > cursor, reversed(self._recent))
            wanted = [event for event in new if _wanted(event, uid, stream)]
            return wanted[::-1], end
        events = await self._reader.events(uid, Span(PAGE, cursor, end + 1), stream=stream)
        return events, events[-1].id if len(events) == PAGE else end

    def _chunks(self, events: list[StoredEvent]) -> list[list[dict[str, Any]]]:
        """The events in frames that fit."""
        chunks: list[list[dict[str, Any]]] = []
        room = 0
        for event in events:
            row = self.as_json(event)
            size = len(orjson.dumps(row))
            if size > room or len(chunks[-1]) >= PAGE:
                chunks.append([])
                room = ROOM
            chunks[-1].append(row)
            room -= size
        return chunks


def _wanted(event: StoredEvent, uid: str | None, stream: bool) -> bool:
    return (uid is None or event.agent == uid) and (stream or not event.stream)


async def _first_of(*waiting: Coroutine[Any, Any, Any]) -> None:
    waits = [asyncio.ensure_future(one) for one in waiting]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
