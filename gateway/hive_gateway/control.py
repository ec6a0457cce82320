"""gateway.sock: the registry comes in, the gateway's state goes out."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hive_wire.jsonrpc import Handlers, Params, Peer
from hive_wire.protocol import Registry, RegistryChange
from hive_wire.registry import Parts, changed
from hive_wire.rpc_errors import INVALID_PARAMS, REFUSED, RpcError

from . import files
from .config import Config
from .sockets import AgentSockets

log = logging.getLogger(__name__)
M = TypeVar("M", bound=BaseModel)


class Control:
    """Serves what the reconciler said last, also when the reconciler is away."""

    def __init__(self, path: Path, config: Config, sockets: AgentSockets) -> None:
        self._path = path
        self._config = config
        self._sockets = sockets
        self._registry = Registry(agents=())
        self._parts = Parts()
        self._setting = asyncio.Lock()

    @property
    def handlers(self) -> Handlers:
        return {
            "registry.set": self._set,
            "registry.change": self._change,
            "status": self._status,
        }

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
        part = _said(Registry, peer, params)
        async with self._setting:
            registry = self._parts.add(part)
            if registry is not None:
                await self._take(registry)
        return {}

    async def _change(self, peer: Peer, params: Params) -> dict[str, Any]:
        change = _said(RegistryChange, peer, params)
        async with self._setting:
            await self._take(changed(self._registry.agents, change))
        return {}

    async def _take(self, registry: Registry) -> None:
        if registry != self._registry:
            data = registry.model_dump_json().encode()
            await asyncio.to_thread(files.replace, self._path, data)
            self._registry = registry
        await self._sockets.apply(registry)

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


def _said(model: type[M], peer: Peer, params: Params) -> M:
    if peer.caller.uid not in (0, os.geteuid()):
        raise RpcError(REFUSED, "only the reconciler says which agents there are")
    try:
        return model.model_validate(params)
    except ValidationError as error:
        raise RpcError(INVALID_PARAMS, f"no registry: {error}") from None
