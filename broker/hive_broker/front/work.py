"""What each tool does, once its arguments are checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from hive_wire.rpc_errors import INVALID_PARAMS, RpcError

from ..core.addressing import Unaddressable, check_body
from ..core.delivery import Turn
from ..core.reminders import BadTime, Reminder, is_span, parse_at, parse_every
from ..service.agent import Agent
from ..service.app import App
from ..service.post import Along, Draft, Sent
from ..service.questions import Asking
from ..store.rows import Unit
from . import tools as t

Keep = Callable[[str], Along]
"""From a call's answer to what is stored with its effect, so that it is never done twice."""


def text(answer: dict[str, Any]) -> str:
    return orjson.dumps(answer).decode()


class Work:
    """Tools with an effect: `do`. Tools that only read: `read`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._effects: dict[type[t.Arguments], Callable[..., Awaitable[str]]] = {
            t.Send: self._send,
            t.AskOperator: self._ask,
            t.WithdrawQuestion: self._withdraw,
            t.Remind: self._remind,
            t.CancelReminder: self._cancel_reminder,
        }

    async def do(
        self, agent: Agent, tool: t.Tool, arguments: t.Arguments, keep: Keep, key: str | None
    ) -> str:
        """The answer, once effect and answer are on disk. Raises RpcError.

        `key` names the wish, so that the reconciler knows it when it is asked again.
        """
        if isinstance(arguments, t.Wish):
            method, wish = _wish(tool, arguments)
            params = {"uid": agent.uid, **wish, **({} if key is None else {"key": key})}
            return await self._ask_reconciler(method, params, keep)
        return await self._effects[type(arguments)](agent, arguments, keep)

    async def recv(self, agent: Agent, arguments: t.Recv, turn: Turn, call: str) -> str:
        messages, draining = await self._app.receiving.recv(
            agent, turn, call, arguments.max, arguments.wait_seconds
        )
        return text({"messages": messages, "unread": agent.mailbox.waiting, "draining": draining})

    async def list_agents(self, agent: Agent, arguments: t.ListAgents) -> str:
        asked = {"uid": agent.uid, **({"after": arguments.after} if arguments.after else {})}
        return text(await self._app.requests.ask("list", asked))

    # -- in the broker -----------------------------------------------------------

    async def _send(self, agent: Agent, a: t.Send, keep: Keep) -> str:
        draft = Draft(a.to, a.body, a.in_reply_to)
        sent = await self._app.post.from_agent(agent, draft, lambda s: keep(text(_sent(s))))
        return text(_sent(sent))

    async def _ask(self, agent: Agent, a: t.AskOperator, keep: Keep) -> str:
        if not a.question.strip() or not all(option.strip() for option in a.options):
            raise RpcError(INVALID_PARAMS, "the question, or an option, is empty")
        if len(set(a.options)) < len(a.options):
            raise RpcError(INVALID_PARAMS, "two options are the same: nobody could tell which")
        if a.ttl_seconds is not None:  # then it ends in a message to the asker, asked or not
            self._app.limits.check_rooms((agent.uid,))
        size = sum(len(text.encode()) for text in (a.question, *a.options))
        self._app.limits.spend(agent, size)
        ident = next(self._app.broker.ids.question)
        answer = text({"id": ident, "state": "open"})
        asking = Asking(a.question, a.options, a.multi, a.ttl_seconds)
        await self._app.questions.ask(agent, asking, ident, keep(answer))
        return answer

    async def _withdraw(self, agent: Agent, a: t.WithdrawQuestion, keep: Keep) -> str:
        answer = text({"id": a.id, "state": "withdrawn"})
        await self._app.questions.withdraw(agent, a.id, keep(answer))
        return answer

    async def _remind(self, agent: Agent, a: t.Remind, keep: Keep) -> str:
        now = self._app.broker.clock.wall()
        try:
            check_body(a.body)
            if (a.at is None) == (a.every is None):
                raise BadTime('give either at or every, as in at="10m"')
            every = None if a.every is None else parse_every(a.every)
            due = now + every if every is not None else parse_at(a.at or "", now)
        except (BadTime, Unaddressable) as error:
            raise RpcError(INVALID_PARAMS, str(error)) from None
        self._app.reminders.check_room(agent, a.body)
        self._app.limits.check_rooms((agent.uid,))
        self._app.limits.spend(agent, len(a.body.encode()))
        ident = next(self._app.broker.ids.reminder)
        dated = a.at is not None and not is_span(a.at)
        reminder = Reminder(ident, agent.uid, a.body, due, every, dated)
        answer = text({"id": reminder.id, "due": round(due)})
        await self._app.reminders.add(reminder, keep(answer))
        return answer

    async def _cancel_reminder(self, agent: Agent, a: t.CancelReminder, keep: Keep) -> str:
        answer = text({"cancelled": a.id})
        await self._app.reminders.cancel(agent, a.id, keep(answer))
        return answer

    # -- at the reconciler -------------------------------------------------------

    async def _ask_reconciler(self, method: str, params: dict[str, Any], keep: Keep) -> str:
        answer = text(await self._app.requests.ask(method, params))
        along = keep(answer)
        unit = Unit(events=along.events, changes=along.changes)
        await self._app.broker.writer.submit(unit, lambda _: along.then())
        return answer


def _wish(tool: t.Tool, arguments: t.Wish) -> tuple[str, dict[str, Any]]:
    """The method of requests.sock and what it is told."""
    match arguments:
        case t.RequestSpawn():
            told = arguments.model_dump(exclude={"name"}, exclude_none=True)
            return "submit", {"kind": "spawn", "agent": arguments.name, **told}
        case t.RequestApplyCommit():
            return "submit", {"kind": "apply", **arguments.model_dump()}
        case t.Power():
            action = "stop" if tool.name == "kill" else tool.name
            return "power", {"action": action, **arguments.model_dump()}


def _sent(sent: Sent) -> dict[str, Any]:
    """The answer to `send`."""
    message, notes = sent.message, list[str]()
    if sent.left_out:
        some = ", ".join(sent.left_out[:20]) + (" …" if len(sent.left_out) > 20 else "")
        notes.append(f"not sent to those for whom too many messages wait: {some}")
    if message.not_before:
        wait = round(message.not_before - message.at)
        notes.append(
            f"delivered in {wait} s: you answer each other for {message.hops} turns without a "
            "person; end it if the work is done, or ask_operator"
        )
    answer: dict[str, Any] = {"id": message.id, "thread": message.thread}
    return {**answer, "note": "; ".join(notes)} if notes else answer
