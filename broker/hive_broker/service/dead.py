"""Dead letters, until a person retries or drops them."""

from __future__ import annotations

from typing import Any

from hive_wire.pages import fitting
from hive_wire.rpc_errors import NOT_FOUND, RpcError

from ..store import changes
from ..store.rows import Unit
from .agent import Agent
from .broker import Broker
from .deliveries import Deliveries

LISTED = 200


class DeadLetters:
    def __init__(self, broker: Broker, deliveries: Deliveries) -> None:
        self._broker = broker
        self._deliveries = deliveries

    async def listed(self) -> list[dict[str, Any]]:
        """The newest ones, their bodies cut."""
        rows = (
            {
                "id": message["id"],
                "agent": self._broker.name_of.get(uid, uid),
                "uid": uid,
                "message": message,
                "attempts": attempts,
                "cause": cause,
            }
            for uid, attempts, cause, message in await self._broker.reader.dead(LISTED)
        )
        return fitting(rows)[0]

    async def retry(self, agent: Agent, message: int) -> None:
        """Try a dead letter again, with its failures forgiven."""
        async with agent.lock:
            attempt = await self._attempt(agent, message)

            def then(_: object) -> None:
                agent.dead -= 1
                agent.mailbox.revive(message, attempt)
                self._deliveries.pump(agent)

            await self._broker.writer.submit(
                Unit(changes=(changes.unbury(agent.uid, message),)), then
            )

    async def drop(self, agent: Agent, message: int) -> None:
        async with agent.lock:
            await self._attempt(agent, message)

            def then(_: object) -> None:
                agent.dead -= 1

            change = changes.drop_dead(agent.uid, message, self._broker.clock.wall())
            await self._broker.writer.submit(Unit(changes=(change,)), then)

    async def _attempt(self, agent: Agent, message: int) -> int:
        attempt = await self._broker.reader.dead_attempt(agent.uid, message)
        if attempt is None:
            raise RpcError(NOT_FOUND, f"message {message} to {agent.name} is not dead")
        return attempt
