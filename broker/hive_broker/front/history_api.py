"""The part of broker.sock that reads what happened: events, searches, figures, copies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hive_wire.jsonrpc import Handler, Peer
from hive_wire.pages import fitting
from hive_wire.rpc_errors import INVALID_PARAMS, RpcError

from ..service.app import App
from ..store.reader import Span
from ..store.search import Wanted, search
from . import params as p

On = Callable[[Any, Any], Handler]
"""Makes a handler of a model for the params and a method that takes them."""


class HistoryApi:
    def __init__(self, app: App) -> None:
        self._app = app
        self._searching = asyncio.Lock()  # one at a time: each takes a processor

    def handlers(self, on: On) -> dict[str, Handler]:
        return {
            "events": on(p.Events, self._events),
            "subscribe": on(p.Subscribe, self._subscribe),
            "search_events": on(p.Search, self._search),
            "snapshot": on(p.Nothing, self._snapshot),
            "snapshot.drop": on(p.Nothing, self._snapshot_drop),
            "metrics": on(p.Figures, self._metrics),
        }

    async def _events(self, _: Peer, call: p.Events) -> dict[str, Any]:
        span = Span(call.limit, call.after, call.before)
        stored = await self._app.broker.reader.events(call.uid, span, kinds=call.kinds)
        found = self._app.broker.history.page(stored, newest=call.after is None)
        return {"events": found, "cursor": cursor(found, call.after, call.before)}

    async def _subscribe(self, peer: Peer, call: p.Subscribe) -> dict[str, Any]:
        history = self._app.broker.history
        return {"cursor": history.subscribe(peer, call.after, call.uid, call.stream)}

    async def _search(self, _: Peer, call: p.Search) -> dict[str, Any]:
        words = tuple(call.query.split())
        if not words:
            raise RpcError(INVALID_PARAMS, "query: say at least one word")
        broker = self._app.broker
        uid = None if call.agent is None else self._uid(call.agent)
        before = call.before or broker.history.last + 1
        wanted = Wanted(words, uid, call.kinds, before, call.limit)
        async with self._searching:
            found = await asyncio.to_thread(search, broker.path, wanted)
        events = broker.history.page(list(found.events), newest=True)
        cursor = found.cursor if len(events) == len(found.events) else int(events[0]["id"])
        return {"events": events, "more": cursor > 0, "cursor": cursor or None}

    def _uid(self, name_or_uid: str) -> str:
        """Of an agent that lives or lived."""
        known = self._app.broker.name_of
        return name_or_uid if name_or_uid in known else self._app.broker.agent(name_or_uid).uid

    async def _snapshot(self, _: Peer, __: p.Nothing) -> dict[str, Any]:
        return {"path": str(await self._app.snapshot.make())}

    async def _snapshot_drop(self, _: Peer, __: p.Nothing) -> dict[str, Any]:
        await self._app.snapshot.drop()
        return {}

    async def _metrics(self, _: Peer, call: p.Figures) -> dict[str, Any]:
        lines = self._app.metrics.lines()
        found, more = fitting(lines[call.after :])
        end = call.after + len(found)
        text = "".join(f"{line}\n" for line in found)
        return {"text": text, "next": end if more else None, "lines": len(lines)}


def cursor(rows: list[dict[str, Any]], after: int | None, before: int | None) -> int | None:
    """Where the next page goes on, in the direction that was asked for."""
    if not rows:
        return after if after is not None else before
    going_back = after is None and before is not None
    return int(rows[0 if going_back else -1]["id"])
