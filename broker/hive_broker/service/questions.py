"""Questions to the operator: asked, answered (late, too), expired, withdrawn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hive_wire.pages import fitting
from hive_wire.rpc_errors import BUSY, CONFLICT, NOT_FOUND, REFUSED, RpcError

from ..core.addressing import preview
from ..core.permissions import DENY, Permission, rule_for
from ..core.questions import Question, Unanswerable, answer_text
from ..store import changes
from ..store.rows import NewEvent, NewMessage, Unit
from .agent import Agent
from .broker import Broker
from .deliveries import Deliveries
from .post import Along

NOTHING = Along()
MOST_OPEN = 50  # questions that one agent may have open


@dataclass(frozen=True, slots=True)
class Asking:
    text: str
    options: tuple[str, ...]
    multi: bool
    ttl: float | None


@dataclass(frozen=True, slots=True)
class PermissionAsking:
    """May the engine use `tool` with `input`? Denied after `ttl` seconds."""

    key: str
    turn: str
    tool: str
    input: dict[str, Any]
    ttl: float


_UNDECIDED = {
    "expired": "Nobody answered in time, so it is denied. Work without it, or ask the operator.",
    "withdrawn": "The question was withdrawn.",
}


class Questions:
    """Open ones are in memory; every change goes through one lock."""

    def __init__(self, broker: Broker, deliveries: Deliveries) -> None:
        self._broker = broker
        self._deliveries = deliveries
        self._lock = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[Question]] = {}  # for decisions on permissions
        for question in broker.questions.values():
            self._arm(question)

    async def ask(self, agent: Agent, asking: Asking, ident: int, along: Along) -> None:
        """Store the question `ident`. Raises RpcError(BUSY) when too many are open."""
        self._check_room(agent)
        now = self._broker.clock.wall()
        question = Question(
            id=ident,
            uid=agent.uid,
            text=asking.text,
            options=asking.options,
            multi=asking.multi,
            asked=now,
            expires=None if asking.ttl is None else now + asking.ttl,
        )

        await self._open(question, along)

    async def decide(self, agent: Agent, asking: PermissionAsking) -> dict[str, Any]:
        """What a person decided on a use of a tool, once somebody did or its time is up.

        The same key again is the same question. Raises RpcError(BUSY).
        """
        decided = await self._broker.whole(self._permission(agent, asking))
        question = await asyncio.shield(decided)
        given = question.answer or {}
        return {
            "decision": next(iter(given.get("choices", ())), DENY),
            "text": given.get("text", "") if given else _UNDECIDED[question.state],
            "by": question.answered_by,
        }

    async def answer(self, ident: int, by: str, text: str | None, choices: Sequence[str]) -> None:
        """Store the answer and send it to the asker, at once. Raises RpcError."""
        async with self._lock:
            question = await self._find(ident)
            try:
                answered = question.answered(by, text, choices)
            except Unanswerable as error:
                raise RpcError(CONFLICT, str(error)) from None
            if question.permission is not None:
                await self._become(answered, ())
                return
            given = answered.answer or {}
            data = {"id": ident, "question": question.text, **given}
            message = self._broker.system_message(
                question.uid, "operator_answered", answer_text(answered), data
            )
            await self._become(answered, (message,))

    async def hold(self, ident: int, more: float | None) -> float | None:
        """Somebody types an answer, or gives `more` seconds: when the question expires now."""
        async with self._lock:
            question = await self._find(ident)
            now = self._broker.clock.wall()
            later = question.typing(now) if more is None else question.extended(now, more)
            if later != question:
                await self._become(later, ())
            return later.expires

    async def withdraw(self, agent: Agent, ident: int, along: Along) -> None:
        """The asker needs no answer any more. Raises RpcError(REFUSED)."""
        async with self._lock:
            question = self._broker.questions.get(ident)
            if question is None or question.uid != agent.uid or question.permission is not None:
                mine = [q.id for q in self._broker.questions.values() if q.uid == agent.uid]
                listed = ", ".join(map(str, mine)) or "none"
                raise RpcError(REFUSED, f"you have no open question {ident}; you have: {listed}")
            await self._become(question.withdrawn(), (), along)

    async def withdraw_all(self, uid: str) -> None:
        """The asker is gone."""
        async with self._lock:
            for question in [q for q in self._broker.questions.values() if q.uid == uid]:
                await self._become(question.withdrawn(), ())

    async def withdraw_permissions(
        self, uid: str, *, key: str | None = None, turn: str | None = None
    ) -> None:
        """The engine does not wait any more: for one ask, those of a turn, or any at all."""
        async with self._lock:
            for question in list(self._broker.questions.values()):
                ask = question.permission
                if ask is None or question.uid != uid:
                    continue
                if key in (None, ask.key) and turn in (None, ask.turn):
                    await self._become(question.withdrawn(), ())

    async def listed(self, only_open: bool, limit: int, after: int | None) -> dict[str, Any]:
        """A page of them, and how many are open in all."""
        found = await self._broker.reader.questions(only_open, limit + 1, after)
        rows, cut = fitting(self.as_json(question) for question in found[:limit])
        more = cut or len(found) > limit
        is_open = len(self._broker.questions)
        return {"questions": rows, "next": rows[-1]["id"] if more else None, "open": is_open}

    async def soonest(self, limit: int) -> dict[str, Any]:
        """The open ones that end first, and how many are open in all."""
        found = await self._broker.reader.soonest(limit)
        rows, _ = fitting(self.as_json(question) for question in found)
        return {"questions": rows, "next": None, "open": len(self._broker.questions)}

    def as_json(self, question: Question) -> dict[str, Any]:
        """As docs/protocol.md, `Question`."""
        q = question
        return {
            "id": q.id,
            "agent": self._broker.name_of.get(q.uid, q.uid),
            "uid": q.uid,
            "text": q.text,
            "options": list(q.options),
            "multi": q.multi,
            "asked": q.asked,
            "expires": q.expires,
            "state": q.state,
            "answer": q.answer,
            "answered_by": q.answered_by,
            "kind": "question" if q.permission is None else "permission",
            "permission": None if q.permission is None else _shown(q.permission),
        }

    # -- inside ----------------------------------------------------------------

    def _check_room(self, agent: Agent) -> None:
        mine = [q for q in self._broker.questions.values() if q.uid == agent.uid]
        if len(mine) >= MOST_OPEN:
            raise RpcError(BUSY, f"you have {len(mine)} open questions; wait for answers first")

    async def _permission(self, agent: Agent, asking: PermissionAsking) -> asyncio.Future[Question]:
        """The question as it will be decided; opened when the key is new."""
        async with self._lock:
            known = self._open_permission(agent.uid, asking.key)
            known = known or await self._broker.reader.permission(agent.uid, asking.key)
            if known is not None:
                return self._decision(known)
            self._check_room(agent)
            rule = rule_for(asking.tool, asking.input)
            permission = Permission(asking.key, asking.turn, asking.tool, asking.input, rule)
            now = self._broker.clock.wall()
            question = Question(
                id=next(self._broker.ids.question),
                uid=agent.uid,
                text=f"May {agent.name} use {asking.tool}?",
                options=permission.options(),
                multi=False,
                asked=now,
                expires=now + asking.ttl,
                permission=permission,
            )
            await self._open(question, Along())
            return self._decision(question)

    def _decision(self, question: Question) -> asyncio.Future[Question]:
        decided = asyncio.get_running_loop().create_future()
        if question.id in self._broker.questions:
            return self._waiting.setdefault(question.id, decided)
        decided.set_result(question)
        return decided

    def _open_permission(self, uid: str, key: str) -> Question | None:
        for question in self._broker.questions.values():
            ask = question.permission
            if ask is not None and question.uid == uid and ask.key == key:
                return question
        return None

    async def _open(self, question: Question, along: Along) -> None:
        def then(_: object) -> None:
            self._broker.questions[question.id] = question
            self._arm(question)
            along.then()

        unit = Unit(
            events=(self._event(question), *along.events),
            changes=(changes.set_question(question), *along.changes),
        )
        await self._broker.writer.submit(unit, then)

    async def _find(self, ident: int) -> Question:
        found = self._broker.questions.get(ident) or await self._broker.reader.question(ident)
        if found is None:
            raise RpcError(
                NOT_FOUND, f"there is no question {ident}; hive questions lists the open ones"
            )
        return found

    async def _become(
        self, question: Question, messages: tuple[NewMessage, ...], along: Along = NOTHING
    ) -> None:
        def then(_: object) -> None:
            if question.state == "open":
                self._broker.questions[question.id] = question
            else:
                self._broker.questions.pop(question.id, None)
                waiting = self._waiting.pop(question.id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(question)
            self._arm(question)
            along.then()
            for message in messages:
                self._deliveries.arrived(message)

        unit = Unit(
            messages=messages,
            events=(self._event(question), *along.events),
            changes=(changes.set_question(question), *along.changes),
        )
        await self._broker.writer.submit(unit, then)

    async def _expire(self, ident: int, expires: float) -> None:
        """Unless it was given more time meanwhile. The alarm's word counts: the clock on the
        wall may have been set."""
        async with self._lock:
            question = self._broker.questions.get(ident)
            if question is None or question.expires != expires:
                return
            if question.permission is not None:
                await self._become(question.expired(), ())
                return
            body = (
                f"Nobody answered question {ident} in time: {preview(question.text)} "
                "Go on as you think best; a late answer still reaches you."
            )
            data = {"id": ident, "question": question.text}
            message = self._broker.system_message(question.uid, "question_expired", body, data)
            await self._become(question.expired(), (message,))

    def _arm(self, question: Question) -> None:
        alarm = ("question", question.id)
        expires = question.expires
        if question.state != "open" or expires is None:
            self._broker.alarms.cancel(alarm)
            return
        self._broker.alarms.set(
            alarm,
            self._broker.clock.steady_at(expires),
            lambda: self._broker.spawn_until_stored(lambda: self._expire(question.id, expires)),
        )

    def _event(self, question: Question) -> NewEvent:
        return self._broker.event(question.uid, "question", self.as_json(question))


def _shown(permission: Permission) -> dict[str, Any]:
    return {key: getattr(permission, key) for key in ("tool", "input", "rule", "turn")}
