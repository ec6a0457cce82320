"""host.sock: what people may ask of the reconciler, by command line and dashboard."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from hive_wire.jsonrpc import Handler, Handlers, Peer
from hive_wire.pages import page
from hive_wire.rpc_errors import BUSY, REFUSED, RpcError

from ..core.builds import Builds
from ..core.files import BROKER_USER, DASHBOARD_USER
from ..core.loop import Reconciler
from ..core.view import status
from ..git.intake import Submitted
from ..model.proposal import Requester, listing
from ..runtime.base import RuntimeFailure
from .cards import card
from .care_api import CareApi
from .looking_api import LookingApi
from .serving import Acting, M, Name, Nothing, Request, handler, uid_of, user_name
from .settings_api import SettingsApi

Text = Annotated[str, Field(max_length=4000)]
Number = Annotated[int, Field(ge=1)]


class Proposals(Request):
    state: Literal["open", "closed", "merged"] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100
    before: Number | None = None


class Behind(Request):
    after: Annotated[str | None, Field(max_length=64)] = None


class One(Request):
    n: Number


class Approve(Acting):
    n: Number
    effect: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    allow_prune: Annotated[int | None, Field(ge=0, le=100_000)] = None
    signature: Annotated[str | None, Field(max_length=4002)] = None


class Deny(Acting):
    n: Number
    reason: Annotated[str, Field(min_length=1, max_length=4000)]


class Withdraw(Acting):
    n: Number


class Spawn(Acting):
    name: Name
    description: Text = ""
    prompt: Annotated[str | None, Field(max_length=65536)] = None
    template: Name | None = None
    settings: dict[str, Any] | None = None


class Power(Acting):
    agent: Name
    action: Literal["start", "stop", "restart"]
    now: bool = False


class Retire(Acting):
    agent: Name
    reason: Text = ""


class Revert(Acting):
    what: Number | Annotated[str, Field(pattern=r"^[0-9a-fA-F]{7,40}$")]
    reason: Text = ""


class Rollback(Acting):
    agent: Name
    commit: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{7,40}$")]
    reason: Text = ""


class Revive(Acting):
    agent: Name


class Shutdown(Request):
    by: Annotated[str, Field(min_length=1, max_length=64)]


class Accept(Acting):
    oid: Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$")]
    reason: Annotated[str, Field(min_length=1, max_length=4000)]


class HostApi:
    """The handlers, and who wants to hear of changes."""

    def __init__(self, reconciler: Reconciler, builds: Builds) -> None:
        self._reconciler = reconciler
        self._builds = builds
        self._hive = reconciler.hive
        self._looking = LookingApi(reconciler)
        self._care = CareApi(reconciler, self._who)
        self._settings = SettingsApi(reconciler, self._who, self._submitted)
        self._subscribers: set[Peer] = set()
        system = not reconciler.layout.tag
        self._dashboard = uid_of(DASHBOARD_USER, system)
        # Without a user of its own, the broker is the caller, who may ask everything.
        self._refused = {uid_of(BROKER_USER, system)} - {os.geteuid()}

    def handlers(self) -> Handlers:
        return {
            "status": self._on(Behind, self._status),
            "proposals": self._on(Proposals, self._proposals),
            "proposal": self._on(One, self._proposal),
            "approve": self._on(Approve, self._approve),
            "deny": self._on(Deny, self._deny),
            "withdraw": self._on(Withdraw, self._withdraw),
            "spawn": self._on(Spawn, self._spawn),
            "power": self._on(Power, self._power),
            "retire": self._on(Retire, self._retire),
            "revert": self._on(Revert, self._revert),
            "rollback": self._on(Rollback, self._rollback),
            "revive": self._on(Revive, self._revive),
            "retired": self._on(Behind, self._retired),
            "subscribe": self._on(Nothing, self._subscribe),
            "shutdown": self._on(Shutdown, self._shutdown),
            "accept": self._on(Accept, self._accept),
            **self._looking.handlers(self._on),
            **self._care.handlers(self._on),
            **self._settings.handlers(self._on),
        }

    def closed(self, peer: Peer) -> None:
        self._subscribers.discard(peer)

    def changed(self, what: str) -> None:
        for peer in tuple(self._subscribers):
            peer.notify("changed", {"what": what})

    # -- looking ---------------------------------------------------------------------

    async def _status(self, _peer: Peer, params: Behind) -> Any:
        if params.after is None:  # one question serves all pages
            await self._reconciler.ask_broker()
        return status(self._reconciler, params.after or "")

    async def _proposals(self, _peer: Peer, params: Proposals) -> Any:
        found = await self._hive.proposals(params.state, params.limit, params.before)
        return {"proposals": listing(found)}

    async def _proposal(self, _peer: Peer, params: One) -> Any:
        return await card(self._reconciler, self._builds, params.n)

    async def _retired(self, _peer: Peer, params: Behind) -> Any:
        found = await self._hive.retired(params.after)
        return page((asdict(agent) for agent in found), "uid")

    async def _subscribe(self, peer: Peer, _params: Nothing) -> Any:
        self._subscribers.add(peer)
        return {}

    # -- deciding --------------------------------------------------------------------

    async def _approve(self, peer: Peer, params: Approve) -> Any:
        who = self._who(peer, params)
        await self._builds.must_be_over(params.n)
        commit = await self._hive.approve(
            params.n, params.effect, who, params.allow_prune or 0, params.signature or ""
        )
        self.moved()
        return {"commit": commit}

    async def _deny(self, peer: Peer, params: Deny) -> Any:
        await self._hive.deny(params.n, params.reason, self._who(peer, params))
        self.moved()
        return {}

    async def _withdraw(self, peer: Peer, params: Withdraw) -> Any:
        await self._hive.withdraw(params.n, self._who(peer, params))
        self.moved()
        return {}

    async def _spawn(self, peer: Peer, params: Spawn) -> Any:
        submitted = await self._hive.submit_spawn(
            Requester.user(self._who(peer, params)),
            params.name,
            params.description,
            prompt=params.prompt,
            template=params.template,
            settings=params.settings,
        )
        return await self._submitted(submitted)

    async def _power(self, peer: Peer, params: Power) -> Any:
        who = self._who(peer, params)
        submitted = await self._hive.submit_power(Requester.user(who), params.agent, params.action)
        uid = self._reconciler.picture.uid_of(params.agent)
        if params.now and uid is not None:
            self._reconciler.at_once(uid, who)
        return await self._submitted(submitted)

    async def _retire(self, peer: Peer, params: Retire) -> Any:
        who = Requester.user(self._who(peer, params))
        return await self._submitted(
            await self._hive.submit_retire(who, params.agent, params.reason)
        )

    async def _revert(self, peer: Peer, params: Revert) -> Any:
        who = Requester.user(self._who(peer, params))
        return await self._submitted(
            await self._hive.submit_revert(who, params.what, params.reason)
        )

    async def _rollback(self, peer: Peer, params: Rollback) -> Any:
        who = Requester.user(self._who(peer, params))
        return await self._submitted(
            await self._hive.submit_rollback(who, params.agent, params.commit, params.reason)
        )

    async def _revive(self, peer: Peer, params: Revive) -> Any:
        who = Requester.user(self._who(peer, params))
        return await self._submitted(await self._hive.submit_revive(who, params.agent))

    async def _accept(self, peer: Peer, params: Accept) -> Any:
        await self._hive.accept(params.oid, self._who(peer, params), params.reason)
        self.moved()
        return {}

    async def _shutdown(self, peer: Peer, _params: Shutdown) -> Any:
        try:
            return {"stopped": await self._reconciler.shutdown(user_name(peer.caller.uid))}
        except RuntimeFailure as error:
            raise RpcError(BUSY, error.message) from None

    # -- who asks --------------------------------------------------------------------

    def _on(self, model: type[M], call: Callable[[Peer, M], Awaitable[Any]]) -> Handler:
        return handler(model, call, self._check)

    def _check(self, peer: Peer) -> None:
        if peer.caller.uid in self._refused:
            raise RpcError(REFUSED, "the broker speaks for agents and may not use host.sock")

    def _who(self, peer: Peer, params: Acting) -> str:
        if params.on_behalf is None:
            return user_name(peer.caller.uid)
        if peer.caller.uid != self._dashboard:
            raise RpcError(REFUSED, "only the dashboard acts on behalf of its users")
        return f"{params.on_behalf} via dashboard session"

    async def _submitted(self, submitted: Submitted) -> dict[str, Any]:
        self.moved()
        return {
            "proposal": submitted.n,
            "state": submitted.state,
            "message": await self._builds.noted(submitted),
        }

    def moved(self) -> None:
        """Proposals changed: the loop looks at once, and so does who is subscribed."""
        self._builds.look()
        self._reconciler.outcomes.look()
        self._reconciler.wake()
        self.changed("proposals")
