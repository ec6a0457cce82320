"""What the tests of the gateway stand on: an upstream, a hive directory, an agent's client."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from hive_gateway.server import running
from hive_wire.jsonrpc import Peer
from hive_wire.paths import Layout
from hive_wire.sockets import connect, listen

SCOUT = "aaaaaaaaaaaa"
OTHER = "bbbbbbbbbbbb"
KEY = "sk-ant-key-of-the-operator"
TOKEN = "sk-ant-oat-token-of-the-operator"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Returns when `condition()` holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def sse(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


@dataclass
class Seen:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Upstream:
    """A model API whose answers are functions."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.seen: list[Seen] = []
        self.left = asyncio.Event()  # a client went away before its answer was whole
        self.url = ""

    async def __aenter__(self) -> Self:
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        self.seen.append(
            Seen(request.method, request.raw_path, request.headers, await request.content.read())
        )
        try:
            return await self.answer(request)  # type: ignore[arg-type]
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise


class Hive:
    """One root with a gateway in it."""

    def __init__(self, root: Path, run: Path) -> None:
        self.layout = Layout(root, run, "-test")
        self.environ: dict[str, str] = {}
        root.mkdir(parents=True)
        self.layout.make_run()

    def gateway(self) -> Any:
        return running(self.layout, self.environ)

    def toml(self, text: str) -> None:
        (self.layout.root / "gateway.toml").write_text(text)

    def key(self, secret: str, name: str = "anthropic-api-key", mode: int = 0o600) -> Path:
        path = self.layout.keys / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(secret)
        path.chmod(mode)
        return path

    def directory(self, uid: str) -> Path:
        path = self.layout.agent_run(uid) / "model"
        path.mkdir(parents=True, exist_ok=True)
        return path

    async def ask(self, method: str, params: Any = None) -> Any:
        peer = await connect(self.layout.gateway_sock)
        try:
            return await peer.request(method, params, timeout=10)
        finally:
            peer.close()

    async def set_agents(self, *uids: str) -> None:
        agents = [registered(uid) for uid in uids]
        await self.ask("registry.set", {"agents": agents})

    def client(self, uid: str) -> aiohttp.ClientSession:
        """A client in the container of `uid`."""
        connector = aiohttp.UnixConnector(str(self.layout.agent_run(uid) / "model/model.sock"))
        return aiohttp.ClientSession("http://model.invalid", connector=connector)


def registered(uid: str) -> dict[str, Any]:
    return {
        "uid": uid,
        "name": "a" + uid[:3],
        "role": "agent",
        "state": "running",
        "engine": "claude",
        "description": "",
        "may_send_to": ["everyone"],
        "budget": {"usd_per_day": 5.0, "turns_per_hour": 60},
        "network": "none",
    }


class UsageBroker:
    """The broker's end of `usage`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.reports: list[dict[str, Any]] = []
        self.limits: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.asked = 0
        self._peers: set[Peer] = set()

    async def __aenter__(self) -> Self:
        self._server = await listen(self._path, self._peer)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for peer in self._peers:
            peer.close()
        os.unlink(self._path)

    def _peer(self) -> Peer:
        handlers = {"usage": self._usage, "limited": self._limited}
        peer = Peer(handlers, on_close=self._peers.discard)
        self._peers.add(peer)
        return peer

    def _limited(self, _peer: Peer, params: dict[str, Any]) -> None:
        self.limits.append(params)

    def _usage(self, _peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        self.reports.append(params)
        return {}

    def total(self, uid: str, field: str) -> int:
        """Counted as the broker must: the same report twice is one."""
        once = {(r["uid"], r["at"]): r["usage"] for r in self.reports if r["uid"] == uid}
        return sum(usage[field] for usage in once.values())
