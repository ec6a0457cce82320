"""gateway.sock: the registry comes in, the gateway's state goes out."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hive_wire.jsonrpc import INVALID_PARAMS, REFUSED, Handlers, Params, Peer, RpcError
from hive_wire.protocol import Registry

from . import files
from .config import Config
from .sockets import AgentSockets

log = logging.getLogger(__name__)


class Control:
    """Serves what the reconciler said last, also when the reconciler is away."""

    def __init__(self, path: Path, config: Config, sockets: AgentSockets) -> None:
        self._path = path
        self._config = config
        self._sockets = sockets
        self._registry = Registry(agents=())
        self._setting = asyncio.Lock()

    @property
    def handlers(self) -> Handlers:
        return {"registry.set": self._set, "status": self._status}

    async def load(self) -> None:
        """Serve the agents of the last registry."""
        try:
            data = await asyncio.to_thread(files.read, self._path)
            if data is not None:
                self._registry = Registry.model_validate_json(data)
        except (OSError, ValueError) as error:
            log.error("%s is unreadable, waiting for the reconciler: %s", self._path, error)
        await self._sockets.apply(self._registry)

    async def _set(self, peer: Peer, params: Params) -> dict[str, Any]:
        if peer.caller.uid not in (0, os.geteuid()):
            raise RpcError(REFUSED, "only the reconciler says which agents there are")
        try:
            registry = Registry.model_validate(params)
        except ValidationError as error:
            raise RpcError(INVALID_PARAMS, f"no registry: {error}") from None
        async with self._setting:
            if registry != self._registry:
                data = registry.model_dump_json().encode()
                await asyncio.to_thread(files.replace, self._path, data)
                self._registry = registry
            await self._sockets.apply(registry)
        return {}

    async def _status(self, _peer: Peer, params: Params) -> dict[str, Any]:
        if params:
            raise RpcError(INVALID_PARAMS, "status takes no parameters")
        upstream = await self._config.current()
        return {
            "url": upstream.url,
            "credential": upstream.credential.kind if upstream.credential else None,
            "problem": upstream.problem,
            "agents": [
                {"uid": a.uid, "name": a.name, "listening": self._sockets.listening(a.uid)}
                for a in self._registry.agents
            ],
        }
