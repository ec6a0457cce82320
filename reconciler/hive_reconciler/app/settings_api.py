"""The part of host.sock that proposes a single setting of an agent for its user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from hive_wire.jsonrpc import Handlers, Peer
from hive_wire.spec import Rule

from ..core.loop import Reconciler
from ..git.intake import Submitted
from ..model.proposal import Requester
from .serving import Acting, Name, On


class Allow(Acting):
    agent: Name
    rule: Rule


class SettingsApi:
    def __init__(
        self,
        reconciler: Reconciler,
        who: Callable[[Peer, Acting], str],
        answer: Callable[[Submitted], Awaitable[dict[str, Any]]],
    ) -> None:
        self._hive = reconciler.hive
        self._who = who
        self._answer = answer

    def handlers(self, on: On) -> Handlers:
        return {"allow": on(Allow, self._allow)}

    async def _allow(self, peer: Peer, params: Allow) -> Any:
        who = Requester.user(self._who(peer, params))
        submitted = await self._hive.submit_allow(who, params.agent, params.rule)
        return await self._answer(submitted)
