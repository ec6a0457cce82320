"""The part of host.sock that only looks: rounds, plans, events, logs, figures."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from hive_wire.jsonrpc import Handlers, Peer
from hive_wire.pages import fitting
from hive_wire.rpc_errors import NOT_FOUND, UNAVAILABLE, RpcError

from ..core.loop import Reconciler
from ..core.slices import in_slices
from ..runtime.toolchain import claude_finding
from .serving import Name, Nothing, On, Request


class Reconcile(Request):
    wait: bool = False


class PlanOf(Request):
    rev: Annotated[str | None, Field(max_length=200)] = None


class EventsOf(Request):
    agent: Name | None = None
    after: Annotated[int | None, Field(ge=0)] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 100


class Logs(Request):
    name: Name
    limit: Annotated[int, Field(ge=1, le=5000)] = 200


class PartOf(Request):
    n: Annotated[int, Field(ge=1)]
    part: Literal["changes", "actions", "diff"]
    after: Annotated[int, Field(ge=0)] = 0


class LookingApi:
    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler

    def handlers(self, on: On) -> Handlers:
        return {
            "reconcile": on(Reconcile, self._reconcile),
            "plan": on(PlanOf, self._plan),
            "proposal_part": on(PartOf, self._part),
            "events": on(EventsOf, self._events),
            "logs": on(Logs, self._logs),
            "doctor": on(Nothing, self._doctor),
            "metrics": on(Nothing, self._metrics),
        }

    async def _reconcile(self, _peer: Peer, params: Reconcile) -> Any:
        rounds = self._reconciler.rounds
        if not params.wait:
            self._reconciler.wake()
            return {"round": rounds.ask(), "plan": None}
        plan = await self._reconciler.asked_round()
        return {"round": rounds.served, "plan": plan.as_json() if plan is not None else None}

    async def _plan(self, _peer: Peer, params: PlanOf) -> Any:
        desired = await self._reconciler.hive.read(params.rev)
        try:
            await self._reconciler.observe()
        except TimeoutError:
            raise RpcError(UNAVAILABLE, "the runtime does not answer; try again") from None
        plan = await in_slices(self._reconciler.picture.foreseeing(desired))
        await asyncio.sleep(0)  # to tell it is as long a stretch again
        return plan.as_json()

    async def _part(self, _peer: Peer, params: PartOf) -> Any:
        return await self._reconciler.hive.part(params.n, params.part, params.after)

    async def _events(self, _peer: Peer, params: EventsOf) -> Any:
        events = self._reconciler.picture.events
        if params.after is None:
            newest = reversed(events.newest(params.agent, params.limit))
            return {"events": fitting(map(asdict, newest))[0][::-1]}
        found = events.after(params.after, params.agent, params.limit)
        return {"events": fitting(map(asdict, found))[0]}

    async def _logs(self, _peer: Peer, params: Logs) -> Any:
        picture = self._reconciler.picture
        agent = picture.agents.by_name.get(params.name)
        if agent is None or agent.valid is None:
            raise RpcError(NOT_FOUND, f"there is no agent {params.name!r}; hive status lists them")
        lines = await self._reconciler.runtime.logs(agent.container, params.limit)
        return {"lines": fitting(reversed(lines))[0][::-1]}

    async def _doctor(self, _peer: Peer, _params: Nothing) -> Any:
        runtime = self._reconciler.runtime
        findings = await runtime.doctor()
        if runtime.name != "nixos":  # there containers bring their own
            agents = self._reconciler.picture.agents.by_name.values()
            needed = any(a.valid is not None and a.valid.spec.engine == "claude" for a in agents)
            findings += (await asyncio.to_thread(claude_finding, needed=needed),)
        return {"findings": [vars(f) for f in findings]}

    async def _metrics(self, _peer: Peer, _params: Nothing) -> Any:
        return {"text": self._reconciler.figures()}
