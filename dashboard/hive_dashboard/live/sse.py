"""`GET /events?after=ID&stream=UID,…`: one stream of server-sent events for one browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from hive_wire.names import is_uid
from hive_wire.rpc_errors import RpcError

from ..auth.sessions import Session
from ..html import Json
from ..web.guard import harden
from .backends import Backend
from .hub import Client, Full, Hub
from .models import Event

PING = 10.0  # seconds
BATCH = 200  # rows in one frame
FARTHEST = 5000  # events; who is farther behind loads the page again
PAGE = 1000
RICH = 20  # rows of a frame that are read as Markdown; in a burst text is shown plain
DRAWN = 1000  # rows kept as JSON

RowOf = Callable[[Event, bool], Json]


class Streams:
    """`row_of(event, rich)` renders an event for the agent's page; `alive` says whether a session still is."""

    def __init__(
        self, hub: Hub, broker: Backend, row_of: RowOf, alive: Callable[[str], bool]
    ) -> None:
        self._hub = hub
        self._broker = broker
        self._row_of = row_of
        self._alive = alive
        self._drawn: dict[tuple[int, float], orjson.Fragment] = {}

    async def serve(self, request: web.Request, session: Session) -> web.StreamResponse:
        """Raises HTTPServiceUnavailable when too many streams are open."""
        after = _number(request.headers.get("Last-Event-ID") or request.query.get("after"))
        wanted = frozenset(u for u in request.query.get("stream", "").split(",") if is_uid(u))
        try:
            client = self._hub.join(session.id, session.user, wanted)
        except Full as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from None
        try:
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
            )
            harden(response)
            await response.prepare(request)
            await self._pump(request, response, client, after)
            return response
        except (ConnectionError, RpcError, TimeoutError):
            return response  # the browser left, or the broker: it comes back and resumes
        finally:
            self._hub.leave(client)

    async def _pump(
        self,
        request: web.Request,
        response: web.StreamResponse,
        client: Client,
        after: int | None,
    ) -> None:
        await response.write(self._ping())
        send = partial(self._send, request, response, client)
        seen, next_ping = -1, time.monotonic() + PING
        while not client.dropped:
            if client.last is None and self._hub.last is not None:
                start = self._hub.last if after is None else after
                if start > self._hub.last:
                    client.reset = True  # ids of another store
                else:
                    client.last = await self._catch_up(response, client, start)
            if client.reset:
                await response.write(b"event: reset\ndata: {}\n\n")
                return
            last = client.last
            rows = [row for row in client.take() if last is not None and row.id > last]
            await self._write(response, client, rows)
            if rows:
                client.last = rows[-1].id
            if self._hub.version != seen:
                seen = self._hub.version
                await response.write(_event("changed", {"version": seen}))
            if time.monotonic() >= next_ping:
                if not self._alive(client.session):
                    return
                await response.write(self._ping())
                next_ping = time.monotonic() + PING
            client.send = send
            try:
                async with asyncio.timeout(max(0.0, next_ping - time.monotonic())):
                    await client.wake.wait()
            except TimeoutError:
                pass
            client.send = None

    def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        client: Client,
        rows: list[Event],
    ) -> bool:
        """Write in the step of the loop that heard of the rows, without waking the pump. False
        where it is the pump's: nothing was sent yet, or the browser does not read at once."""
        transport = request.transport
        behind = transport is None or transport.get_write_buffer_size()
        if client.last is None or behind or len(rows) > BATCH:
            return False
        try:
            _begin(response.write(self._frame(rows, client)))
        except ConnectionError:
            client.drop()
            return True
        client.last = rows[-1].id
        return True

    async def _catch_up(self, response: web.StreamResponse, client: Client, last: int) -> int:
        """Send what happened after `last`; the queue holds what happens meanwhile."""
        rows = self._hub.kept_after(last)
        if rows is None and (self._hub.last or 0) - last > FARTHEST:
            client.reset = True
            return last
        while rows is None:  # a page may have fewer rows than asked for, and more behind it
            answer = await self._broker.ask("events", after=last, limit=PAGE)
            found = [Event.model_validate(row) for row in answer["events"]]
            await self._write(response, client, found)
            last = found[-1].id if found else max(last, self._hub.last or 0)
            rows = self._hub.kept_after(last)
        await self._write(response, client, rows)
        return rows[-1].id if rows else last

    async def _write(self, response: web.StreamResponse, client: Client, rows: list[Event]) -> None:
        rows = [row for row in rows if client.wants(row)]
        for start in range(0, len(rows), BATCH):
            await response.write(self._frame(rows[start : start + BATCH], client))

    def _frame(self, rows: list[Event], client: Client) -> bytes:
        rich = len(rows) <= RICH
        data = [
            [
                row.id,
                row.agent,
                row.kind,
                self._draw(row, rich) if row.agent in client.wanted else None,
            ]
            for row in rows
        ]
        return b"id: %d\n" % rows[-1].id + _event("rows", data)

    def _draw(self, event: Event, rich: bool) -> orjson.Fragment:
        """The row's tree, drawn once for all browsers."""
        key = (event.id, event.at)
        found = self._drawn.get(key)
        if found is None:
            found = self._drawn[key] = orjson.Fragment(orjson.dumps(self._row_of(event, rich)))
            if len(self._drawn) > DRAWN:
                del self._drawn[next(iter(self._drawn))]
        return found

    def _ping(self) -> bytes:
        return _event("ping", {"last": self._hub.last, "now": time.time()})


def _begin(write: Coroutine[Any, Any, None]) -> None:
    """The first step of a write gives all to the transport; the next would wait for the reader."""
    try:
        write.send(None)
    except StopIteration:
        return
    write.close()


def _event(name: str, data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))


def _number(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 19):
        return None
    return int(text)
