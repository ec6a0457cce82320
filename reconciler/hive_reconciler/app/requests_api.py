"""requests.sock: what agents wish, brought by the broker. A wish is never a consent."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from hive_wire.jsonrpc import Handler, Handlers, Peer
from hive_wire.protocol import Uid
from hive_wire.rpc_errors import REFUSED, RpcError

from ..core.builds import Builds
from ..core.files import BROKER_USER
from ..core.loop import Reconciler
from ..core.view import agent_list
from ..git.intake import Submitted
from ..model.proposal import Requester
from .serving import M, Request, handler, uid_of

Name = Annotated[str, Field(max_length=64)]
Key = Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")]


class Submit(Request):
    uid: Uid
    kind: Literal["spawn", "apply"]
    agent: Name
    description: Annotated[str, Field(max_length=4000)] = ""
    commit: Annotated[str | None, Field(pattern=r"^[0-9a-f]{7,40}$")] = None
    prompt: Annotated[str | None, Field(max_length=65536)] = None
    template: Name | None = None
    settings: dict[str, Any] | None = None
    key: Key = ""


class Power(Request):
    uid: Uid
    action: Literal["start", "stop", "restart"]
    agent: Name
    reason: Annotated[str, Field(max_length=4000)] = ""
    key: Key = ""


class ListAgents(Request):
    uid: Uid
    after: Name = ""


class RequestsApi:
    def __init__(self, reconciler: Reconciler, builds: Builds, moved: Callable[[], None]) -> None:
        self._reconciler = reconciler
        self._builds = builds
        self._hive = reconciler.hive
        self._moved = moved
        self._broker = uid_of(BROKER_USER, not reconciler.layout.tag)

    def handlers(self) -> Handlers:
        return {
            "submit": self._on(Submit, self._submit),
            "power": self._on(Power, self._power),
            "list": self._on(ListAgents, self._list),
        }

    async def _submit(self, _peer: Peer, params: Submit) -> Any:
        requester = self._manager(params.uid)
        if params.kind == "spawn":
            submitted = await self._hive.submit_spawn(
                requester,
                params.agent,
                params.description,
                prompt=params.prompt,
                template=params.template,
                settings=params.settings,
                key=params.key,
            )
        else:
            submitted = await self._apply(requester, params)
        return await self._answer(submitted)

    async def _apply(self, requester: Requester, params: Submit) -> Submitted:
        if params.commit is None:
            raise RpcError(REFUSED, "an apply needs a commit: 7 to 40 hex digits of your clone")
        fetch = functools.partial(self._reconciler.broker.export, params.uid, params.commit)
        return await self._hive.submit_commit(
            requester,
            params.agent,
            params.commit,
            params.description,
            fetch,
            key=params.key,
        )

    async def _power(self, _peer: Peer, params: Power) -> Any:
        requester = self._manager(params.uid)
        submitted = await self._hive.submit_power(
            requester, params.agent, params.action, params.reason, key=params.key
        )
        answer = await self._answer(submitted)
        if params.agent == requester.name and submitted.state == "merged":
            answer["message"] += " It takes effect when this turn ends."
        return answer

    async def _list(self, _peer: Peer, params: ListAgents) -> Any:
        self._manager(params.uid)
        return agent_list(self._reconciler, params.after)

    def _manager(self, uid: str) -> Requester:
        agent = self._reconciler.picture.agents.by_uid.get(uid)
        if agent is None or agent.valid is None:
            raise RpcError(REFUSED, "you are not in the applied commit: nothing can be asked for")
        if agent.valid.spec.role != "manager":
            raise RpcError(REFUSED, "only the manager asks for changes; write to it instead")
        return Requester.agent(uid, agent.name)

    async def _answer(self, submitted: Submitted) -> dict[str, Any]:
        self._moved()
        return {
            "proposal": submitted.n,
            "state": submitted.state,
            "message": await self._builds.noted(submitted),
        }

    def _on(self, model: type[M], call: Callable[[Peer, M], Awaitable[Any]]) -> Handler:
        return handler(model, call, self._check)

    def _check(self, peer: Peer) -> None:
        if peer.caller.uid != self._broker:
            raise RpcError(REFUSED, "only the broker may ask here")
