"""The part of host.sock that takes agents out of the loop and back in, and removes retired ones."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from hive_wire.jsonrpc import Handlers, Peer
from hive_wire.rpc_errors import BUSY, NOT_FOUND, UNAVAILABLE, RpcError

from ..core.loop import Reconciler
from ..core.purge import purge
from ..core.suspensions import Suspension
from ..runtime.base import Phase
from .serving import Acting, Name, On

log = logging.getLogger(__name__)


class Suspend(Acting):
    agent: Name | None = None
    reason: Annotated[str, Field(min_length=1, max_length=4000)]


class Resume(Acting):
    agent: Name | None = None


class Purge(Acting):
    agent: Name


class CareApi:
    def __init__(self, reconciler: Reconciler, who: Callable[[Peer, Acting], str]) -> None:
        self._reconciler = reconciler
        self._who = who
        self._removing: set[asyncio.Task[Any]] = set()

    def handlers(self, on: On) -> Handlers:
        return {
            "suspend": on(Suspend, self._suspend),
            "resume": on(Resume, self._resume),
            "purge": on(Purge, self._purge),
        }

    async def _suspend(self, peer: Peer, params: Suspend) -> Any:
        suspension = Suspension(self._who(peer, params), params.reason, time.time())
        await self._set(params.agent, suspension)
        return {}

    async def _resume(self, _peer: Peer, params: Resume) -> Any:
        if not await self._set(params.agent, None):
            what = "the swarm" if params.agent is None else params.agent
            raise RpcError(NOT_FOUND, f"{what} is not suspended; hive status shows what is")
        return {}

    async def _purge(self, peer: Peer, params: Purge) -> Any:
        """By name or uid. Goes on when the connection ends: nothing comes back in the middle."""
        task = asyncio.create_task(self._remove(self._who(peer, params), params.agent))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)
        return await asyncio.shield(task)

    async def _remove(self, who: str, agent: str) -> Any:
        """Only who is in no applied commit any more, and runs no more."""
        async with self._reconciler.hive.purging(agent) as uids:
            if not uids:
                raise RpcError(
                    NOT_FOUND,
                    f"nothing is kept of a retired agent {agent!r}; one that is in the applied "
                    "commit is retired first: hive retire NAME",
                )
            observed = await self._reconciler.runtime.observe()
            live = [o.name for o in observed if o.uid in uids and o.phase is not Phase.STOPPED]
            if live:
                raise RpcError(BUSY, f"{live[0]} still runs; wait for the end of its turn")
            try:
                for uid in uids:
                    await asyncio.to_thread(purge, self._reconciler.layout, uid)
            except OSError as error:
                raise RpcError(UNAVAILABLE, f"not all of it could be removed: {error}") from None
        log.warning("%s purged %s (%s)", who, agent, ", ".join(uids))
        return {"purged": uids}

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
