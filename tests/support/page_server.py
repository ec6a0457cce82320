"""A server as the dashboard sees it: a real socket, made-up answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hive_wire.jsonrpc import Handlers, Params, Peer
from hive_wire.sockets import listen


class FakeServer:
    """Serves `handlers` at a path; can go away and come back; notifies who subscribed."""

    def __init__(self, path: Any, handlers: Handlers) -> None:
        self._path = path
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self.peers: set[Peer] = set()
        self.calls: list[tuple[str, Params]] = []

    async def start(self) -> None:
        counted = {name: self._counted(name, handler) for name, handler in self._handlers.items()}

        def make() -> Peer:
            peer = Peer(counted, on_close=self.peers.discard)
            self.peers.add(peer)
            return peer

        self._server = await listen(self._path, make)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        for peer in list(self.peers):
            peer.close()

    async def __aenter__(self) -> FakeServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def tell(self, method: str, params: Params) -> None:
        for peer in self.peers:
            peer.notify(method, params)

    def called(self, method: str) -> list[Params]:
        return [params for name, params in self.calls if name == method]

    def _counted(self, name: str, handler: Callable[[Peer, Params], Any]) -> Any:
        def handle(peer: Peer, params: Params) -> Any:
            self.calls.append((name, params))
            return handler(peer, params)

        return handle
