"""Sends messages: who may write to whom, threads, and one body with many deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from hive_wire.jsonrpc import Answer
from hive_wire.names import EVERYONE, OPERATOR
from hive_wire.rpc_errors import NOT_FOUND, REFUSED, RpcError

from ..core.addressing import Unaddressable, check_body, recipients
from ..core.limits import FOR_PEOPLE, MOST_WAITING
from ..store.checksum import Damaged
from ..store.rows import Change, Holder, NewEvent, NewMessage, Unit
from .agent import Agent
from .broker import Broker
from .deliveries import Deliveries
from .limits import Limits


@dataclass(frozen=True, slots=True)
class Along:
    """What a tool call stores together with its effect, and applies once it is stored."""

    events: tuple[NewEvent, ...] = ()
    changes: tuple[Change, ...] = ()
    then: Callable[[], None] = lambda: None


class Draft(NamedTuple):
    to: str
    body: str
    in_reply_to: int | None = None
    thread: int | None = None
    key: str | None = None


class Sent(NamedTuple):
    """What became of an agent's draft. `left_out`: names of those for whom too much waits."""

    message: NewMessage
    left_out: tuple[str, ...] = ()


class Post:
    def __init__(self, broker: Broker, deliveries: Deliveries, limits: Limits) -> None:
        self._broker = broker
        self._limits = limits
        self._deliveries = deliveries

    async def from_agent(self, agent: Agent, draft: Draft, along: Callable[[Sent], Along]) -> Sent:
        """An agent's message; what `along` makes of it is stored with it.

        Raises RpcError(REFUSED) with words for the model.
        """
        try:
            check_body(draft.body)
            to = recipients(
                draft.to,
                self._broker.names,
                sender=agent.name,
                may_send_to=agent.record.may_send_to,
            )
        except Unaddressable as error:
            raise RpcError(REFUSED, str(error)) from None
        left_out: tuple[str, ...] = ()
        if draft.to == EVERYONE:  # one that does not keep up stops nobody else's
            room = self._limits.with_room(to)
            left_out = tuple(sorted(self._broker.name_of[uid] for uid in set(to) - set(room)))
            to = room or to
        self._limits.check_rooms(to)
        self._limits.spend(agent, len(draft.body.encode()), len(to))
        thread = None
        if draft.in_reply_to is not None:
            thread = await self._broker.reader.concerns(draft.in_reply_to, agent.uid)
            if thread is None:
                raise RpcError(
                    REFUSED,
                    f"in_reply_to: you have no message {draft.in_reply_to}; "
                    "give the id of one that you got or sent, or leave it out",
                )
        sent = self._message(draft, (agent.uid, agent.name), to, thread)
        message = self._limits.damped(agent, sent)
        answer = Sent(message, left_out)
        beside = along(answer)
        unit = Unit(messages=(message,), events=beside.events, changes=beside.changes)

        def then(_: object) -> None:
            beside.then()
            self._deliveries.arrived(message)

        await self._broker.writer.submit(unit, then)
        return answer

    def from_operator(self, draft: Draft, by: str, answer: Answer) -> None:
        """Answers `{id, thread}`; a key that was used before gives the message of then.

        The path that must be short: no task and no future. Raises RpcError.
        """
        to = self._from_operator(draft)
        message = self._message(draft, (OPERATOR, OPERATOR), to, None, by)

        def then(held: Holder | None) -> None:
            answer.give(_ids(message, held))
            if held is None:
                self._deliveries.arrived(message)

        self._broker.writer.put(Unit(messages=(message,)), then, answer.fail)

    async def from_operator_in_thread(self, draft: Draft, by: str) -> dict[str, int]:
        """`{id, thread}`, once the disk said which thread. Raises RpcError."""
        to = self._from_operator(draft)
        if draft.in_reply_to is not None:
            first = await self._existing("in_reply_to", draft.in_reply_to)
        else:
            first = await self._existing("thread", draft.thread or 0)
        return await self._send(self._message(draft, (OPERATOR, OPERATOR), to, first["thread"], by))

    def from_program(self, agent: Agent, body: str, key: str) -> asyncio.Future[dict[str, int]]:
        """`{id, thread}` of a message that a program in the agent's container wakes it with,
        in the agent's own name; once per key. Raises RpcError."""
        try:
            check_body(body)
        except Unaddressable as error:
            raise RpcError(REFUSED, str(error)) from None
        to = (agent.uid,)
        self._limits.check_rooms(to)
        self._limits.spend(agent, len(body.encode()))
        draft = Draft(agent.name, body, key=f"wake:{key}")
        message = self._message(draft, (agent.uid, agent.name), to, None)
        return self._send(message._replace(kind="wake"))

    async def from_system(
        self, to: str, kind: str, body: str, data: dict[str, Any] | None, key: str
    ) -> int:
        """The id of a system message to one agent or the operator; once per key."""
        if to == EVERYONE:
            raise RpcError(REFUSED, "a system message goes to one agent or the operator")
        uids = self._recipients(to, body)
        message = self._broker.system_message(uids[0] if uids else to, kind, body, data, key)
        return (await self._send(message._replace(recipients=uids)))["id"]

    # -- inside ----------------------------------------------------------------

    def _from_operator(self, draft: Draft) -> tuple[str, ...]:
        if draft.to == OPERATOR:
            raise RpcError(REFUSED, "the operator cannot write to the operator; name an agent")
        to = self._recipients(draft.to, draft.body)
        self._limits.check_rooms(to, MOST_WAITING + FOR_PEOPLE)
        return to

    def _recipients(self, to: str, body: str) -> tuple[str, ...]:
        try:
            found = recipients(to, self._broker.names)
        except Unaddressable as error:
            raise RpcError(NOT_FOUND, str(error)) from None
        try:
            check_body(body)
        except Unaddressable as error:
            raise RpcError(REFUSED, str(error)) from None
        return found

    async def _existing(self, what: str, ident: int) -> dict[str, Any]:
        try:
            found = await self._broker.reader.message(ident)
        except Damaged as error:
            raise RpcError(REFUSED, f"{what}: {error}") from None
        if found is None:
            raise RpcError(NOT_FOUND, f"{what}: there is no message {ident}")
        return found

    def _message(
        self,
        draft: Draft,
        sender: tuple[str, str],
        to: tuple[str, ...],
        thread: int | None,
        by: str | None = None,
    ) -> NewMessage:
        """`sender` is (uid, name); `by` the person behind the operator."""
        ident = next(self._broker.ids.message)
        uid, name = sender
        return NewMessage(
            id=ident,
            sender=uid,
            sender_name=name,
            to=draft.to,
            kind="text",
            body=draft.body,
            thread=thread or ident,
            at=self._broker.clock.wall(),
            recipients=to,
            data=None if by is None else {"by": by},
            in_reply_to=draft.in_reply_to,
            key=draft.key,
        )

    def _send(self, message: NewMessage) -> asyncio.Future[dict[str, int]]:
        def then(held: Holder | None) -> dict[str, int]:
            if held is None:
                self._deliveries.arrived(message)
            return _ids(message, held)

        return self._broker.writer.submit(Unit(messages=(message,)), then)


def _ids(message: NewMessage, held: Holder | None) -> dict[str, int]:
    ident, thread = (message.id, message.thread) if held is None else held
    return {"id": ident, "thread": thread}
