"""One HTTP server for each agent's model.sock. Who asks is known by the socket alone."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web_request, web_response, web_server

from hive_wire.paths import Layout
from hive_wire.protocol import Registry
from hive_wire.sockets import listen

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64  # of one agent, so that none can use up what all share
IDLE = 300.0  # seconds that an unused connection is kept
GRACE = 0.1  # seconds; then running requests are cut, and the client asks again
HEAD = 32 << 10  # bytes of one header

Answer = Callable[[str, web_request.BaseRequest], Awaitable[web_response.StreamResponse]]

# aiohttp logs whatever broken HTTP it is sent, with a trace: an agent could fill the disk
_silent = logging.getLogger(f"{__name__}.http")
_silent.disabled = True


class Refused(asyncio.Protocol):
    """A connection above the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


@dataclass(frozen=True)
class Bound:
    path: Path
    inode: int
    http: web_server.Server
    listener: asyncio.Server

    @property
    def reachable(self) -> bool:
        """Whether the path still leads here: the directory may have been made anew."""
        try:
            return os.lstat(self.path).st_ino == self.inode
        except OSError:
            return False


class AgentSockets:
    def __init__(self, layout: Layout, answer: Answer) -> None:
        self._layout = layout
        self._answer = answer
        self._bound: dict[str, Bound] = {}
        self._applying = asyncio.Lock()

    def listening(self, uid: str) -> bool:
        bound = self._bound.get(uid)
        return bound is not None and bound.reachable

    async def apply(self, registry: Registry) -> None:
        """Serve exactly the agents of `registry`. One whose directory is not there yet, or
        cannot be bound in, is tried again at the next call; the others are served."""
        async with self._applying:
            uids = {agent.uid for agent in registry.agents}
            for uid in [u for u in self._bound if u not in uids or not self.listening(u)]:
                await self._close(self._bound.pop(uid))
            for uid in sorted(uids - self._bound.keys()):
                try:
                    self._bound[uid] = await self._bind(uid)
                except OSError as error:
                    log.warning("%s: no model.sock: %s", uid, error)

    async def close(self) -> None:
        """End all connections. The names stay, for the next gateway to take over."""
        await asyncio.gather(*(self._stop(bound) for bound in self._bound.values()))
        self._bound.clear()

    async def _bind(self, uid: str) -> Bound:
        path = self._layout.agent_run(uid) / "model" / "model.sock"
        http = web_server.Server(
            functools.partial(self._answer, uid),
            handler_cancellation=True,
            access_log=None,
            logger=_silent,
            auto_decompress=False,
            keepalive_timeout=IDLE,
            max_field_size=HEAD,
            max_line_size=HEAD,
        )

        def accept() -> asyncio.BaseProtocol:
            return http() if len(http.connections) < MAX_CONNECTIONS else Refused()

        listener = await listen(path, accept)
        return Bound(path, os.lstat(path).st_ino, http, listener)

    async def _close(self, bound: Bound) -> None:
        if bound.reachable:
            bound.path.unlink(missing_ok=True)
        await self._stop(bound)

    async def _stop(self, bound: Bound) -> None:
        bound.listener.close()
        bound.http.pre_shutdown()  # idle connections at once
        await bound.http.shutdown(GRACE)
