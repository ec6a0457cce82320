"""broker.sock: what reconciler, gateway, dashboard and CLI ask of the broker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from pydantic import BaseModel

from hive_wire.jsonrpc import Answer, Handler, Handlers, Params, Peer
from hive_wire.pages import page
from hive_wire.protocol import Registry, RegistryChange
from hive_wire.rpc_errors import REFUSED, UNAVAILABLE, RpcError

from ..service.app import App
from ..service.post import Draft
from ..store.reader import Span
from . import params as p
from .history_api import HistoryApi, cursor
from .login_api import LoginApi

M = TypeVar("M", bound=BaseModel)
HARNESS_SECONDS = 30.0
COMPACT_SECONDS = 300.0  # a model writes a summary meanwhile
REPORTS = ("usage", "limited")  # the gateway's


class HostApi:
    """One method of this class for each of the socket's; `handlers` names them."""

    def __init__(
        self,
        app: App,
        on_registry: Callable[[], Awaitable[None]],
        *,
        only_reports: int | None = None,
    ) -> None:
        """`only_reports`: a user (uid) that may call nothing but REPORTS."""
        self._app = app
        self._on_registry = on_registry
        self._only_reports = only_reports

    def handlers(self) -> Handlers:
        handlers = self._all()
        if self._only_reports is None:
            return handlers
        return {
            name: call if name in REPORTS else self._guarded(call)
            for name, call in handlers.items()
        }

    def _guarded(self, call: Handler) -> Handler:
        def handle(peer: Peer, params: Params) -> Any:
            if peer.caller.uid == self._only_reports:
                raise RpcError(
                    REFUSED, "the gateway may report usage and limits here, and nothing else"
                )
            return call(peer, params)

        return handle

    def _all(self) -> dict[str, Handler]:
        return {
            "registry.set": self._on(Registry, self._registry),
            "registry.change": self._on(RegistryChange, self._change),
            "system": self._on(p.System, self._system),
            "hold": self._on(p.Hold, self._hold),
            "release": self._on(p.Owned, self._release),
            "fence": self._on(p.Owned, self._fence),
            "unfence": self._on(p.One, self._unfence),
            "fences": self._on(p.Nothing, self._fences),
            "interrupt": self._on(p.Interrupt, self._interrupt),
            "agents": self._on(p.Agents, self._agents),
            "export": self._on(p.Export, self._export),
            "send": self._on(p.Send, self._send),
            "messages": self._on(p.Messages, self._messages),
            "inbox": self._on(p.Inbox, self._inbox),
            "questions": self._on(p.ListQuestions, self._questions),
            "answer": self._on(p.Answer, self._answer),
            "question.hold": self._on(p.HoldQuestion, self._hold_question),
            "dead": self._on(p.ListDead, self._dead),
            "dead.retry": self._on(p.Dead, self._dead_retry),
            "dead.drop": self._on(p.Dead, self._dead_drop),
            "undamp": self._on(p.Undamp, self._undamp),
            "pause": self._on(p.Pause, self._pause),
            "unpause": self._on(p.Pause, self._unpause),
            "command": self._on(p.Command, self._command),
            **HistoryApi(self._app).handlers(self._on),
            **LoginApi(self._app).handlers(self._on),
            "usage": self._on(p.Used, self._usage),
            "limited": self._on(p.Limited, self._limited),
            "status": self._on(p.Nothing, self._status),
        }

    def _on(
        self,
        model: type[M],
        call: Callable[[Peer, M], Coroutine[Any, Any, Any] | asyncio.Future[Any] | Answer],
    ) -> Callable[[Peer, Params], Any]:
        def handle(peer: Peer, params: Params) -> asyncio.Future[Any] | Answer:
            work = call(peer, p.parse(model, params))
            if isinstance(work, (Answer, asyncio.Future)):
                return work
            return self._app.broker.start(work)

        return handle

    # -- the reconciler ----------------------------------------------------------

    async def _registry(self, _: Peer, registry: Registry) -> dict[str, Any]:
        await self._app.registrar.set(registry, self._on_registry)
        return {}

    async def _change(self, _: Peer, change: RegistryChange) -> dict[str, Any]:
        await self._app.registrar.change(change, self._on_registry)
        return {}

    async def _system(self, _: Peer, call: p.System) -> dict[str, Any]:
        ident = await self._app.post.from_system(call.to, call.kind, call.body, call.data, call.key)
        return {"id": ident}

    async def _hold(self, _: Peer, call: p.Hold) -> dict[str, Any]:
        agent = self._app.broker.agents.get(call.uid)
        if agent is None:  # retired or not told of yet: nothing is delivered to it anyway
            return {"running": None, "known": False}
        return self._app.stops.hold(agent, call.token, call.ttl)

    async def _release(self, _: Peer, call: p.Owned) -> dict[str, Any]:
        agent = self._app.broker.agents.get(call.uid)
        if agent is not None:
            self._app.stops.release(agent, call.token)
        return {}

    async def _fence(self, _: Peer, call: p.Owned) -> dict[str, Any]:
        agent = self._app.broker.agents.get(call.uid)
        if agent is not None:
            await self._app.stops.fence(agent, call.token)
        return {}

    async def _unfence(self, _: Peer, call: p.One) -> dict[str, Any]:
        await self._app.stops.unfence(call.uid)
        return {}

    async def _fences(self, _: Peer, __: p.Nothing) -> dict[str, Any]:
        return {"uids": sorted(self._app.broker.fenced)}

    async def _interrupt(self, _: Peer, call: p.Interrupt) -> dict[str, Any]:
        agent = self._app.broker.agent(call.uid)
        running = agent.mailbox.running
        if running is not None:
            await self._ask(call.uid, "interrupt", {"turn": running.id})
        return {}

    async def _agents(self, _: Peer, call: p.Agents) -> dict[str, Any]:
        agents = self._app.broker.agents
        asked = agents.keys() if call.uids is None else agents.keys() & call.uids
        found = sorted(uid for uid in asked if uid > (call.after or ""))
        return page((self._app.presence.status(agents[uid]) for uid in found), "uid")

    async def _export(self, peer: Peer, call: p.Export) -> dict[str, Any]:
        agent = self._app.broker.agent(call.uid)
        return await self._app.exports.export(agent, call.commit, call.have, peer, call.stream)

    # -- messages ----------------------------------------------------------------

    def _send(self, peer: Peer, call: p.Send) -> Answer | asyncio.Future[dict[str, int]]:
        draft = Draft(call.to, call.body, call.in_reply_to, call.thread, call.key)
        post = self._app.post
        if draft.in_reply_to is not None or draft.thread is not None:
            return self._app.broker.start(post.from_operator_in_thread(draft, call.by))
        answer = peer.answer()
        post.from_operator(draft, call.by, answer)
        return answer

    async def _messages(self, _: Peer, call: p.Messages) -> dict[str, Any]:
        span = Span(call.limit, call.after, call.before)
        found = await self._app.broker.reader.messages(call.peer, span)
        return {"messages": found, "cursor": cursor(found, call.after, call.before)}

    async def _inbox(self, _: Peer, call: p.Inbox) -> dict[str, Any]:
        return {"messages": await self._app.broker.reader.inbox(Span(call.limit, call.after))}

    async def _questions(self, _: Peer, call: p.ListQuestions) -> dict[str, Any]:
        if call.soonest:
            return await self._app.questions.soonest(call.limit)
        return await self._app.questions.listed(call.open, call.limit, call.after)

    async def _answer(self, _: Peer, call: p.Answer) -> dict[str, Any]:
        await self._app.questions.answer(call.id, call.by, call.text, call.choices or ())
        return {}

    async def _hold_question(self, _: Peer, call: p.HoldQuestion) -> dict[str, Any]:
        return {"expires": await self._app.questions.hold(call.id, call.more)}

    async def _dead(self, _: Peer, call: p.ListDead) -> dict[str, Any]:
        return await self._app.dead.listed(call.limit, call.after)

    async def _dead_retry(self, _: Peer, call: p.Dead) -> dict[str, Any]:
        await self._app.dead.retry(self._app.broker.agent(call.agent), call.id, call.by)
        return {}

    async def _dead_drop(self, _: Peer, call: p.Dead) -> dict[str, Any]:
        await self._app.dead.drop(self._app.broker.agent(call.agent), call.id, call.by)
        return {}

    # -- people at the controls --------------------------------------------------

    async def _undamp(self, _: Peer, call: p.Undamp) -> dict[str, Any]:
        await self._app.limits.lift([self._app.broker.agent(name) for name in call.agents])
        return {}

    async def _pause(self, _: Peer, call: p.Pause) -> dict[str, Any]:
        if call.uid is not None:
            self._app.broker.agent(call.uid)
        await self._app.stops.pause(call.uid, call.by, call.reason)
        return {}

    async def _unpause(self, _: Peer, call: p.Pause) -> dict[str, Any]:
        await self._app.stops.unpause(call.uid, call.by, call.reason)
        return {}

    async def _command(self, _: Peer, call: p.Command) -> dict[str, Any]:
        asked: dict[str, Any] = {"command": call.command}
        if call.argument is not None:
            asked["argument"] = call.argument
        seconds = COMPACT_SECONDS if call.command == "compact" else HARNESS_SECONDS
        answer = await self._ask(call.uid, "command", asked, seconds)
        return {"text": str(answer.get("text", "")) if isinstance(answer, dict) else ""}

    async def _ask(
        self, uid: str, method: str, asked: dict[str, Any], seconds: float = HARNESS_SECONDS
    ) -> Any:
        agent = self._app.broker.agent(uid)
        try:
            return await agent.connected().request(method, asked, timeout=seconds)
        except TimeoutError:
            raise RpcError(UNAVAILABLE, f"{agent.name} did not answer in time") from None

    # -- figures -----------------------------------------------------------------

    async def _usage(self, _: Peer, call: p.Used) -> dict[str, Any]:
        await self._app.metering.used(call.uid, call.usage, call.usd, call.at)
        return {}

    async def _limited(self, _: Peer, call: p.Limited) -> dict[str, Any]:
        self._app.metering.limited(call.uid, call.until)
        return {}

    async def _status(self, _: Peer, __: p.Nothing) -> dict[str, Any]:
        return self._app.status()
