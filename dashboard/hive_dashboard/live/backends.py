"""A process that the dashboard talks to, and since when it is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hive_wire.jsonrpc import Handlers, Peer
from hive_wire.link import Link
from hive_wire.rpc_errors import INTERNAL_ERROR, RpcError


class Backend:
    """`on_turn` is called after it came or went; `greet` runs first on each connection."""

    def __init__(
        self,
        title: str,
        path: Path,
        handlers: Handlers,
        greet: Callable[[Peer], Awaitable[None]],
        on_turn: Callable[[], None],
    ) -> None:
        self.title = title
        self.away_since: float | None = time.time()
        self._greet = greet
        self._on_turn = on_turn
        self._link = Link(path, handlers, on_connect=self._came, on_down=self._went)

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    async def run(self) -> None:
        await self._link.run()

    async def ask(self, method: str, *, timeout: float = 20.0, **params: Any) -> Any:
        """The answer. Raises RpcError, TimeoutError."""
        return await self._link.request(method, params, timeout=timeout)

    async def _came(self, peer: Peer) -> None:
        try:
            await self._greet(peer)
        except (KeyError, TypeError, ValueError) as error:  # the link tries again
            raise RpcError(INTERNAL_ERROR, f"an answer was not understood: {error!r}") from None
        self.away_since = None
        # The link counts as up only after this returns.
        asyncio.get_running_loop().call_soon(self._on_turn)

    def _went(self) -> None:
        if self.away_since is None:
            self.away_since = time.time()
            self._on_turn()
