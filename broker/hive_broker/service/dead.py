"""Dead letters, until a person retries or drops them."""

from __future__ import annotations

from typing import Any

from hive_wire.pages import fitting
from hive_wire.rpc_errors import NOT_FOUND, RpcError

from ..store import changes
from ..store.reader import Grave
from ..store.rows import Unit
from .agent import Agent
from .broker import Broker
from .deliveries import Deliveries


class DeadLetters:
    def __init__(self, broker: Broker, deliveries: Deliveries) -> None:
        self._broker = broker
        self._deliveries = deliveries

    async def listed(self, limit: int, after: str | None) -> dict[str, Any]:
        """A page of them, their bodies cut, and how many there are in all."""
        found = await self._broker.reader.dead(limit + 1, after)
        rows, cut = fitting(self._as_json(grave) for grave in found[:limit])
        more = cut or len(found) > limit
        total = sum(agent.dead for agent in self._broker.agents.values())
        return {"dead": rows, "next": found[len(rows) - 1].place if more else None, "total": total}

    def _as_json(self, grave: Grave) -> dict[str, Any]:
        """As docs/protocol.md, `dead`."""
        return {
            "id": grave.message["id"],
            "agent": self._broker.name_of.get(grave.uid, grave.uid),
            "uid": grave.uid,
            "message": grave.message,
            "attempts": grave.counted,
            "cause": grave.cause,
        }

    async def retry(self, agent: Agent, message: int, by: str) -> None:
        """Try a dead letter again, with its failures forgiven."""
        async with agent.lock:
            attempt = await self._attempt(agent, message)

            def then(_: object) -> None:
                agent.dead -= 1
                agent.mailbox.revive(message, attempt)
                self._deliveries.pump(agent)

            event = self._broker.event(agent.uid, "dead.retried", {"message": message, "by": by})
            change = changes.unbury(agent.uid, message)
            await self._broker.writer.submit(Unit(events=(event,), changes=(change,)), then)

    async def drop(self, agent: Agent, message: int, by: str) -> None:
        async with agent.lock:
            await self._attempt(agent, message)

            def then(_: object) -> None:
                agent.dead -= 1

            event = self._broker.event(agent.uid, "dead.dropped", {"message": message, "by": by})
            change = changes.drop_dead(agent.uid, message, self._broker.clock.wall())
            await self._broker.writer.submit(Unit(events=(event,), changes=(change,)), then)

    async def _attempt(self, agent: Agent, message: int) -> int:
        attempt = await self._broker.reader.dead_attempt(agent.uid, message)
        if attempt is None:
            raise RpcError(NOT_FOUND, f"message {message} to {agent.name} is not dead")
        return attempt
