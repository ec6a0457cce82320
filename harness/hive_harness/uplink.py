"""The line to the broker: hello, rows, states, the ends of turns."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hive_wire.jsonrpc import Handlers, Peer
from hive_wire.link import Link
from hive_wire.rpc_errors import RpcError

from .outbox import Outbox
from .rows import Row
from .states import STARTING, Badge

log = logging.getLogger(__name__)

VERSION = "0.1.0"
GATHER = 0.03  # seconds in which rows are collected into one call
ANSWER_WITHIN = 30.0  # seconds
MAX_DETAIL = 1000  # characters that the broker takes with a state


@dataclass(frozen=True)
class Welcome:
    """What the broker said to a hello."""

    resume: dict[str, Any] | None  # a Grant: go on with it
    drop: bool  # the turn that was reported as running does not stand any more


class Uplink:
    """One link to harness.sock. `greeting` gives the hello's parts that change."""

    def __init__(
        self,
        path: Path,
        handlers: Handlers,
        greeting: Callable[[], Awaitable[dict[str, Any]]],
        welcomed: Callable[[Welcome], Awaitable[None]],
        confirmed: Callable[[str], Awaitable[None]],
    ) -> None:
        self.boot = str(uuid.uuid4())
        self._greeting = greeting
        self._welcomed = welcomed
        self._confirmed = confirmed
        self._link = Link(path, handlers, on_connect=self._hello)
        self._outbox = Outbox()
        self._dirty = asyncio.Event()
        self._sending = asyncio.Lock()
        self._badge = STARTING
        self._unconfirmed: set[str] = set()

    async def run(self) -> None:
        """Keep the line and send rows until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run())
            tasks.create_task(self._send_rows())

    def row(self, row: Row, turn: str | None) -> None:
        """Put a row on its way; it is kept while the broker is away."""
        self._outbox.add(row, turn, time.time())
        self._dirty.set()

    def badge(self, badge: Badge) -> None:
        """Say a state; the last one is said again to a broker that comes back."""
        if badge != self._badge:
            self._badge = badge
            self._link.notify("state", _state(badge))

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Tell the broker, if it is there."""
        self._link.notify(method, params)

    async def up(self) -> Peer:
        """The connection, as soon as it stands."""
        return await self._link.up()

    async def may_do_upkeep(self) -> bool:
        """Whether the model may be asked between turns: what stops a turn stops that, too."""
        if not self._link.is_up:
            return False
        try:
            peer = await self._link.up()
            answer = await peer.request("upkeep", {}, timeout=ANSWER_WITHIN)
        except (RpcError, TimeoutError) as error:
            log.info("nothing is done between turns: %s", error)
            return False
        return answer.get("may") is True

    async def end(self, event: dict[str, Any]) -> None:
        """Returns when the broker has closed the turn on disk. `event` is a TurnEnd in the spool."""
        turn = event["turn"]
        self._unconfirmed.add(turn)
        while turn in self._unconfirmed:
            peer = await self._link.up()
            if turn not in self._unconfirmed:  # a hello carried it
                return
            try:
                await self._flush(peer)
                await peer.request("turn.end", event, timeout=ANSWER_WITHIN)
                await self._settle(turn)
            except (RpcError, TimeoutError) as error:
                log.warning("the end of turn %s is not confirmed yet: %s", turn, error)
                await asyncio.sleep(0.2)

    async def last_words(self) -> None:
        """Send the rows that are left, as far as the broker is there."""
        if self._link.is_up:
            try:
                async with asyncio.timeout(1):
                    await self._flush(await self._link.up())
            except (RpcError, TimeoutError):
                return

    # -- inside ----------------------------------------------------------------

    async def _hello(self, peer: Peer) -> None:
        hello = {"boot": self.boot, "version": VERSION, **await self._greeting()}
        answer = await peer.request("hello", hello, timeout=ANSWER_WITHIN)
        self._outbox.reconnected(int(answer.get("acked") or 0))
        for turn in answer.get("confirmed") or ():
            await self._settle(str(turn))
        peer.notify("state", _state(self._badge))
        self._dirty.set()
        await self._welcomed(Welcome(answer.get("resume"), bool(answer.get("drop"))))

    async def _settle(self, turn: str) -> None:
        self._unconfirmed.discard(turn)
        await self._confirmed(turn)

    async def _send_rows(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(GATHER)
            peer = await self._link.up()
            try:
                await self._flush(peer)
            except (RpcError, TimeoutError) as error:
                log.debug("rows wait for the broker: %s", error)
                await asyncio.sleep(0.2)

    async def _flush(self, peer: Peer) -> None:
        async with self._sending:
            self._dirty.clear()
            while batch := self._outbox.batch():
                try:
                    answer = await peer.request("stream", {"rows": batch}, timeout=ANSWER_WITHIN)
                except (RpcError, TimeoutError):
                    self._dirty.set()
                    raise
                self._outbox.acknowledge(int(answer.get("acked") or 0))


def _state(badge: Badge) -> dict[str, Any]:
    said: dict[str, Any] = {"state": badge.state}
    if badge.detail:
        said["detail"] = badge.detail[:MAX_DETAIL]
    if badge.until is not None:
        said["until"] = badge.until
    return said
