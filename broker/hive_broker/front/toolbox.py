"""Takes one agent's tool calls: who may call what, and each effect once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from hive_wire.rpc_errors import BUSY, CONFLICT, INVALID_PARAMS, NOT_FOUND, RpcError

from ..core.calls import Call, digest_of, turn_of, wish_key
from ..core.delivery import Turn
from ..service.agent import Agent
from ..service.app import App
from ..service.post import Along
from ..store import changes
from ..store.rows import NewEvent, Unit
from . import tools as t
from .params import problems
from .work import Work

MOST_AT_ONCE = 64  # calls of one agent
MOST_KEPT = 2_000  # calls of one agent's messages that are not settled


class Toolbox:
    """The tools of the agent behind one socket."""

    def __init__(self, app: App, uid: str) -> None:
        self._broker = app.broker
        self._work = Work(app)
        self._uid = uid
        self._unnamed = itertools.count(1)
        self._busy = 0

    def offered(self) -> list[t.Tool]:
        return t.offered(manager=self._broker.agent(self._uid).record.role == "manager")

    async def call(self, name: str, arguments: dict[str, Any], call: str | None) -> str:
        """The answer as text. `call` is the name that the harness gave the call.

        Raises RpcError with words for the model.
        """
        agent = self._broker.agent(self._uid)
        tool = t.TOOLS.get(name)
        if tool is None or tool not in self.offered():
            names = ", ".join(known.name for known in self.offered())
            raise RpcError(NOT_FOUND, f"you have no tool {name[:60]!r}; you have: {names}")
        if self._busy >= MOST_AT_ONCE:
            raise RpcError(BUSY, f"{MOST_AT_ONCE} calls run already; wait for their answers")
        self._busy += 1
        try:
            return await self._call(agent, tool, arguments, call)
        except RpcError:
            self._broker.record(self._used(agent, tool, call, ok=False))
            raise
        finally:
            self._busy -= 1

    # -- inside ------------------------------------------------------------------

    async def _call(self, agent: Agent, tool: t.Tool, raw: dict[str, Any], call: str | None) -> str:
        try:
            arguments = tool.arguments.model_validate(raw)
        except ValidationError as error:
            raise RpcError(INVALID_PARAMS, problems(tool.arguments, error)) from None
        turn = _turn(agent, call)
        if not tool.once:
            return await self._read(agent, tool, arguments, turn, call)
        if call is None or turn is None:

            def keep(_: str) -> Along:
                return Along(events=(self._used(agent, tool, call, ok=True),))

            return await self._broker.whole(self._work.do(agent, tool, arguments, keep, None))
        if call in agent.in_flight:
            return await self._broker.finished(agent.in_flight[call][1])
        asked = Call(0, call, turn.message, tool.name, digest_of(raw), "")
        before = [task for other, task in agent.in_flight.values() if asked.is_like(other)]
        if isinstance(arguments, t.Wish) and before:
            work = self._after(before, agent, tool, arguments, asked)
        else:
            work = self._once(agent, tool, arguments, turn, asked)
        running = self._broker.start(work)
        agent.in_flight[call] = asked, running
        running.add_done_callback(lambda _: agent.in_flight.pop(call, None))
        return await self._broker.finished(running)

    async def _read(
        self,
        agent: Agent,
        tool: t.Tool,
        arguments: t.Arguments,
        turn: Turn | None,
        call: str | None,
    ) -> str:
        if isinstance(arguments, t.Recv):
            if turn is None:
                raise RpcError(CONFLICT, "no turn runs; messages come to you as turns")
            unnamed = f"{turn.id}:-{self._broker.epoch}.{next(self._unnamed)}"
            answer = await self._work.recv(agent, arguments, turn, call or unnamed)
        else:
            assert isinstance(arguments, t.ListAgents)
            answer = await self._work.list_agents(agent, arguments)
        self._broker.record(self._used(agent, tool, call, ok=True))
        return answer

    async def _after(
        self,
        before: Collection[asyncio.Task[str]],
        agent: Agent,
        tool: t.Tool,
        arguments: t.Arguments,
        asked: Call,
    ) -> str:
        """The same, once the wishes `before` that are like it were answered: its key counts them."""
        await asyncio.wait(before)
        turn = _turn(agent, asked.name)  # raises when it is over by now
        assert turn is not None
        return await self._once(agent, tool, arguments, turn, asked)

    async def _once(
        self, agent: Agent, tool: t.Tool, arguments: t.Arguments, turn: Turn, asked: Call
    ) -> str:
        """Do it, or answer with what was stored when it was done."""
        known = agent.calls.find(asked.name, asked.waking, asked.tool, asked.digest)
        if known is None:
            if len(agent.calls) >= MOST_KEPT:
                raise RpcError(
                    BUSY, f"this turn made {MOST_KEPT} calls, and that is the most: end the turn"
                )
            return await self._work.do(
                agent,
                tool,
                arguments,
                lambda answer: self._kept(agent, tool, turn, asked, answer),
                wish_key(agent.uid, asked, agent.calls.alike(asked)),
            )
        if known.name != asked.name or known.repeat:
            taken = agent.calls.renamed(known, asked.name)
            agent.calls.add(taken)  # at once, so that it answers one call only
            try:
                await self._broker.writer.submit(Unit(changes=(changes.rename_call(taken),)))
            except RpcError:
                agent.calls.add(known)
                raise
        return known.result

    def _kept(self, agent: Agent, tool: t.Tool, turn: Turn, asked: Call, answer: str) -> Along:
        call = replace(asked, id=next(self._broker.ids.call), result=answer)

        def then() -> None:
            if agent.mailbox.stands(turn):
                agent.calls.add(call)
            elif agent.mailbox.holds(turn.message):  # the attempt ended before it was answered
                agent.calls.add(replace(call, repeat=True))

        return Along(
            events=(self._used(agent, tool, asked.name, ok=True),),
            changes=(changes.add_call(agent.uid, call, turn.attempt),),
            then=then,
        )

    def _used(self, agent: Agent, tool: t.Tool, call: str | None, *, ok: bool) -> NewEvent:
        running = agent.mailbox.running
        turn = call.partition(":")[0][:40] if call else (None if running is None else running.id)
        return self._broker.event(agent.uid, "tool", {"name": tool.name, "ok": ok}, turn)


def _turn(agent: Agent, call: str | None) -> Turn | None:
    """The turn that made the call; without a name, the one that runs."""
    if call is None:
        return agent.mailbox.running
    try:
        turn = turn_of(call)
    except ValueError as error:
        raise RpcError(INVALID_PARAMS, f"_meta hive/call: {error}") from None
    if not agent.mailbox.stands(turn):
        raise RpcError(CONFLICT, f"turn {turn.id} is over; nothing was done")
    return turn
