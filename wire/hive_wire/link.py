"""A connection that comes back: reconnects by itself and says so each time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from .jsonrpc import Handlers, Params, Peer
from .rpc_errors import UNAVAILABLE, RpcError
from .sockets import connect

log = logging.getLogger(__name__)

FIRST_DELAY = 0.01
LAST_DELAY = 0.5

OnConnect = Callable[[Peer], Awaitable[None]]


class Link:
    """Keeps one connection to `path`. `on_connect` runs first on each new connection
    (a hello, a subscription); only when it returned is the link `up`."""

    def __init__(
        self,
        path: Path,
        handlers: Handlers | None = None,
        *,
        on_connect: OnConnect | None = None,
        on_down: Callable[[], None] | None = None,
        context: Any = None,
    ) -> None:
        self.path = path
        self._handlers = handlers or {}
        self._on_connect = on_connect
        self._on_down = on_down
        self._context = context
        self._peer: Peer | None = None
        self._up = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    async def run(self) -> None:
        """Connect, and reconnect 10 to 500 ms after each loss, until cancelled."""
        delay = FIRST_DELAY
        while True:
            try:
                peer = await connect(self.path, self._handlers, context=self._context)
            except OSError:
                await asyncio.sleep(delay * random.uniform(0.5, 1))
                delay = min(delay * 2, LAST_DELAY)
                continue
            try:
                if self._on_connect is not None:
                    await self._on_connect(peer)
                self._peer, delay = peer, FIRST_DELAY
                self._up.set()
                await peer.gone()
            except (RpcError, TimeoutError) as error:
                log.warning("%s: the first exchange failed: %s", self.path.name, error)
                await asyncio.sleep(delay * random.uniform(0.5, 1))
                delay = min(delay * 2, LAST_DELAY)
            finally:
                self._peer = None
                self._up.clear()
                peer.close()
                if self._on_down is not None:
                    self._on_down()

    async def up(self) -> Peer:
        """The peer, as soon as the link is up."""
        while self._peer is None:
            await self._up.wait()
        return self._peer

    async def request(
        self, method: str, params: Params | None = None, *, timeout: float | None = 30.0
    ) -> Any:
        """Ask once, on the connection there is. Raises RpcError(UNAVAILABLE) when down."""
        if self._peer is None:
            raise RpcError(UNAVAILABLE, f"{self.path.name} is not connected; is the process up?")
        return await self._peer.request(method, params, timeout=timeout)

    def notify(self, method: str, params: Params | None = None) -> bool:
        """Tell once. False when the link is down."""
        if self._peer is None:
            return False
        self._peer.notify(method, params)
        return True
