"""harness.sock: one connection of one agent's harness."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from hive_wire.jsonrpc import Handlers, Params, Peer
from hive_wire.protocol import Hello, StreamRow, TurnEnd
from hive_wire.rpc_errors import INVALID_PARAMS, REFUSED, UNAVAILABLE, RpcError

from ..core.folding import Row
from ..core.limits import HELLO
from ..service.agent import Agent, Shown
from ..service.app import App
from ..service.questions import PermissionAsking
from ..store import changes
from ..store.rows import STREAM_KINDS, NewEvent, Unit
from . import params as p

ROW_BYTES = 256 << 10
INPUT_BYTES = 16 << 10  # of a tool's input that a person is to judge
MOST_CONNECTIONS = 16
MOST_UNSENT = 3 << 20  # bytes that a connection does not read: two frames and a bit
OWN_KINDS = STREAM_KINDS | {"gap"}  # all that a harness may put into the history


class HarnessApi:
    """The handlers of one agent's socket: the socket says who speaks, nothing else does."""

    def __init__(self, app: App, uid: str, spend: Callable[[int], float]) -> None:
        """`spend`: as `core.limits.Pace`."""
        self._app = app
        self._spend = spend
        self._uid = uid
        self._peers: dict[Peer, None] = {}  # oldest first
        self._handlers = self.handlers()

    def peer(self) -> Peer:
        """A new connection; of too many, the oldest that says nothing ends, read or not."""
        if len(self._peers) >= MOST_CONNECTIONS:
            agent = self._app.broker.agents.get(self._uid)
            current = None if agent is None else agent.peer
            oldest = next(peer for peer in self._peers if peer is not current)
            del self._peers[oldest]
            oldest.drop()
        peer = Peer(self._handlers, on_close=self._closed, max_unsent=MOST_UNSENT, pace=self._spend)
        self._peers[peer] = None
        return peer

    def handlers(self) -> Handlers:
        return {
            "hello": self._hello,
            "stream": self._stream,
            "state": self._state,
            "turn.end": self._turn_end,
            "upkeep": self._upkeep,
            "permission": self._permission,
            "permission.withdraw": self._withdraw,
            "chunk": self._chunk,
            "wake": self._wake,
        }

    async def _hello(self, peer: Peer, params: Params) -> dict[str, Any]:
        self._spend(HELLO)
        agent = self._app.broker.agent(self._uid)
        turns = self._app.turns
        try:
            hello = p.parse(Hello, params)
        except RpcError as error:
            turns.refused(agent, error.message)
            raise
        welcome = await self._app.broker.whole(turns.hello(agent, peer, hello))
        # The answer leaves when this returns; what is delivered comes behind it.
        asyncio.get_running_loop().call_soon(turns.open_for, agent, peer, welcome)
        return welcome.answer

    def _stream(self, peer: Peer, params: Params) -> asyncio.Future[dict[str, Any]]:
        agent = self._greeted(peer)
        rows = p.parse(p.Stream, params).rows
        self._spend(len(rows))
        return self._app.broker.start(self._store(agent, peer, rows))

    async def _store(self, agent: Agent, peer: Peer, rows: Iterable[StreamRow]) -> dict[str, Any]:
        """The last row on disk. After a failed write the connection ends: a hello then
        says where to go on, and no row behind the failed ones is taken before them."""
        async with agent.stream_lock:
            boot = agent.boot
            fresh = [row for row in rows if row.n > agent.acked]
            if not fresh or boot is None or agent.peer is not peer:
                return {"acked": agent.acked}
            if agent.rows_refused:
                raise RpcError(UNAVAILABLE, "the host's disk is full; rows are kept where they are")
            last = max(row.n for row in fresh)

            def then(_: object) -> None:
                if agent.boot == boot:
                    agent.acked = last

            found = [_row(row) for row in sorted(fresh, key=lambda row: row.n)]
            folded = agent.folder.fold(found, self._app.broker.clock.steady())
            events = tuple(NewEvent(agent.uid, r.kind, r.data, r.at, r.turn) for r in folded)
            unit = Unit(events=events, changes=(changes.set_acked(agent.uid, boot, last),))
            try:
                await self._app.broker.writer.submit(unit, then)
            except RpcError:
                # Full: the line stays, so that turns can end; it is cut when there is room.
                agent.rows_refused = self._app.broker.writer.full
                if not agent.rows_refused:
                    peer.close()
                raise
            return {"acked": agent.acked}

    def _state(self, peer: Peer, params: Params) -> dict[str, Any]:
        agent = self._greeted(peer)
        said = p.parse(p.State, params)
        self._app.presence.report(agent, Shown(said.state, said.detail, said.until))
        return {}

    def _turn_end(self, peer: Peer, params: Params) -> asyncio.Future[dict[str, Any]]:
        agent = self._greeted(peer)
        end = p.parse(TurnEnd, params)
        return self._app.broker.start(self._app.turns.turn_end(agent, peer, end))

    def _upkeep(self, peer: Peer, _: Params) -> dict[str, Any]:
        return {"may": self._app.deliveries.is_open(self._greeted(peer))}

    async def _permission(self, peer: Peer, params: Params) -> dict[str, Any]:
        agent = self._greeted(peer)
        asked = p.parse(p.Permission, params)
        size = _size(asked.input)
        if size is None or size > INPUT_BYTES:
            raise RpcError(REFUSED, "the input is too long to be shown whole to a person")
        running = agent.mailbox.running
        if running is None or running.id != asked.turn:
            raise RpcError(REFUSED, "permissions are asked in the turn that runs")
        self._app.limits.spend(agent, size)
        return await self._app.questions.decide(agent, PermissionAsking(**asked.model_dump()))

    async def _withdraw(self, peer: Peer, params: Params) -> dict[str, Any]:
        agent = self._greeted(peer)
        key = p.parse(p.PermissionKey, params).key
        await self._app.broker.whole(self._app.questions.withdraw_permissions(agent.uid, key=key))
        return {}

    async def _chunk(self, peer: Peer, params: Params) -> None:
        agent = self._greeted(peer)
        chunk = p.parse(p.Chunk, params)
        await self._app.exports.chunk(agent, chunk.stream, chunk.data)

    def _wake(self, _: Peer, params: Params) -> asyncio.Future[dict[str, Any]]:
        """From any program in the container: the socket says whose it is."""
        call = p.parse(p.Wake, params)
        agent = self._app.broker.agent(self._uid)
        return self._app.post.from_program(agent, call.body, call.key)

    def _greeted(self, peer: Peer) -> Agent:
        agent = self._app.broker.agent(self._uid)
        if agent.peer is not peer:
            raise RpcError(REFUSED, "say hello first; another connection may have taken over")
        return agent

    def _closed(self, peer: Peer) -> None:
        self._peers.pop(peer, None)
        agent = self._app.broker.agents.get(self._uid)
        if agent is not None:
            self._app.turns.lost(agent, peer)


def _row(row: StreamRow) -> Row:
    if row.kind not in OWN_KINDS:
        kinds = ", ".join(sorted(OWN_KINDS))
        raise RpcError(INVALID_PARAMS, f"{row.kind!r} is no kind of row; kinds are: {kinds}")
    size = _size(row.data)
    whole = size is not None and size <= ROW_BYTES
    return Row(row.kind, row.data if whole else {"cut": size}, row.turn, row.at)


def _size(data: dict[str, Any]) -> int | None:
    """Bytes as JSON; None for what is nested too deeply to be kept."""
    try:
        return len(orjson.dumps(data))
    except TypeError:
        return None
