"""The part of broker.sock with which people log an agent's engine in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hive_wire.jsonrpc import Handlers, Peer

from ..service.app import App
from . import params as p


class LoginApi:
    def __init__(self, app: App) -> None:
        self._logins = app.logins
        self._agent = app.broker.agent

    def handlers(self, on: Callable[..., Any]) -> Handlers:
        return {
            "login.start": on(p.Login, self._start),
            "login.code": on(p.LoginCode, self._code),
            "login.cancel": on(p.Login, self._cancel),
        }

    async def _start(self, _: Peer, call: p.Login) -> dict[str, Any]:
        return {"url": await self._logins.start(self._agent(call.uid), call.by)}

    async def _code(self, _: Peer, call: p.LoginCode) -> dict[str, Any]:
        return {"text": await self._logins.code(self._agent(call.uid), call.code, call.by)}

    async def _cancel(self, _: Peer, call: p.Login) -> dict[str, Any]:
        await self._logins.cancel(self._agent(call.uid), call.by)
        return {}
