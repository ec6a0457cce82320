"""recv: a running turn takes further messages, which are settled with it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import orjson

from hive_wire.rpc_errors import CONFLICT, RpcError

from ..core.delivery import Pick, Turn
from ..store import changes
from ..store.checksum import Damaged
from ..store.rows import Unit
from .agent import Agent
from .bodies import Bodies
from .broker import Broker
from .health import Health

ANSWER_BYTES = 800 << 10  # as JSON within JSON; one message is always less


class Receiving:
    """Acknowledged attachments only: what recv answers with is the turn's on disk."""

    def __init__(self, broker: Broker, bodies: Bodies, health: Health) -> None:
        self._broker = broker
        self._health = health
        self._bodies = bodies

    async def recv(
        self, agent: Agent, turn: Turn, call: str, limit: int, wait: float
    ) -> tuple[list[dict[str, Any]], bool]:
        """Messages attached to `turn`, and whether a hold is on.

        Waits up to `wait` seconds for one while none is there. Raises
        RpcError(CONFLICT) when the turn is over.
        """
        clock = self._broker.clock
        deadline = clock.steady() + wait
        while True:
            news = agent.news.next
            found, draining = await self._broker.whole(self._attach(agent, turn, call, limit))
            left = deadline - clock.steady()
            if found or draining or left <= 0:
                return found, draining
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await news.wait()

    async def _attach(
        self, agent: Agent, turn: Turn, call: str, limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        async with agent.lock:
            if not agent.mailbox.stands(turn):
                raise RpcError(CONFLICT, "that turn is over")
            now = self._broker.clock.steady()
            draining = agent.gate.held(now) or agent.gate.fenced
            stopped = draining or self._broker.paused(agent.uid) is not None
            pick, found = await self._sound(agent, turn, call, limit, stopped)
            if pick.all:
                rows = tuple(changes.attach(agent.uid, m, turn.message, call) for m in pick.all)
                await self._broker.writer.submit(
                    Unit(changes=rows, vital=True), lambda _: agent.mailbox.attach(pick, call)
                )
            return found, draining

    async def _sound(
        self, agent: Agent, turn: Turn, call: str, limit: int, stopped: bool
    ) -> tuple[Pick, list[dict[str, Any]]]:
        """What is handed out. A damaged message becomes a dead letter, and is not."""
        while True:
            pick = agent.mailbox.pick(turn, call, limit, self._broker.clock.steady())
            if stopped:
                pick = Pick(turn.message, pick.owed, ())
            try:
                return _fitting(pick, await self._bodies.get_all(pick.all))
            except Damaged as error:
                await self._health.condemn(agent, error.ident)
                self._broker.on_damaged(agent.uid, error.ident)


def _fitting(pick: Pick, messages: list[dict[str, Any]]) -> tuple[Pick, list[dict[str, Any]]]:
    """As much of the pick as one answer holds."""
    size, count = 0, 0
    for message in messages:
        size += len(orjson.dumps(orjson.dumps(message).decode()))
        if size > ANSWER_BYTES and count:
            break
        count += 1
    owed = pick.owed[:count]
    return Pick(pick.waking, owed, pick.fresh[: count - len(owed)]), messages[:count]
