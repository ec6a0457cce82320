"""The part of host.sock that takes agents out of the loop and back in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from hive_wire.jsonrpc import NOT_FOUND, UNAVAILABLE, Handlers, Peer, RpcError

from ..core.loop import Reconciler
from ..core.suspensions import Suspension
from .serving import Acting, Name, On


class Suspend(Acting):
    agent: Name | None = None
    reason: Annotated[str, Field(min_length=1, max_length=4000)]


class Resume(Acting):
    agent: Name | None = None


class CareApi:
    def __init__(self, reconciler: Reconciler, who: Callable[[Peer, Acting], str]) -> None:
        self._reconciler = reconciler
        self._who = who

    def handlers(self, on: On) -> Handlers:
        return {"suspend": on(Suspend, self._suspend), "resume": on(Resume, self._resume)}

    async def _suspend(self, peer: Peer, params: Suspend) -> Any:
        suspension = Suspension(self._who(peer, params), params.reason, time.time())
        await self._set(params.agent, suspension)
        return {}

    async def _resume(self, _peer: Peer, params: Resume) -> Any:
        if not await self._set(params.agent, None):
            what = "the swarm" if params.agent is None else params.agent
            raise RpcError(NOT_FOUND, f"{what} is not suspended; hive status shows what is")
        return {}

    async def _set(self, agent: str | None, suspension: Suspension | None) -> bool:
        """The round that follows has it: what is answered is in force."""
        try:
            done = await self._reconciler.keeper.suspend(self._uid(agent), suspension)
        except OSError as error:
            raise RpcError(
                UNAVAILABLE, f"it cannot be stored, so nothing changed: {error}"
            ) from None
        await self._reconciler.round()
        return done

    def _uid(self, agent: str | None) -> str | None:
        if agent is None:
            return None
        uid = self._reconciler.picture.uid_of(agent)
        if uid is None:
            raise RpcError(NOT_FOUND, f"there is no agent {agent!r}; hive status lists them")
        return uid
