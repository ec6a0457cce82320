"""The engine asks whether it may use a tool; a person answers, or nobody does."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Any

from hive_wire.rpc_errors import UNAVAILABLE, RpcError

from .rows import encodable, size
from .uplink import Uplink

log = logging.getLogger(__name__)

MAX_SHOWN = 16 << 10  # bytes of a tool's input, as JSON
BROKER_AWAY = 60.0  # seconds beyond the time limit in which an answer is still fetched

Event = dict[str, Any]


class Permits:
    """`turn` is the turn that runs; `opened` and `closed` hear of the tool of each question."""

    def __init__(
        self,
        uplink: Uplink,
        turn: Callable[[], str | None],
        opened: Callable[[str], None],
        closed: Callable[[str], None],
        within: float,
    ) -> None:
        self._uplink = uplink
        self._turn = turn
        self._opened = opened
        self._closed = closed
        self._within = within

    async def decide(self, request: Event) -> Event:
        """The answer to the engine's `can_use_tool`."""
        turn, tool, given = self._turn(), request.get("tool_name"), request.get("input")
        if turn is None or not isinstance(tool, str) or not isinstance(given, dict):
            return _denied("Nobody can be asked outside of a turn. Work without it.")
        if size(given) > MAX_SHOWN or encodable(given) != given:
            return _denied("This input cannot be shown whole to a person. Do it in smaller parts.")
        key = str(request.get("tool_use_id") or uuid.uuid4())[:200]
        asked = {"key": key, "turn": turn, "tool": tool, "input": given, "ttl": self._within}
        self._opened(tool)
        try:
            decision = await self._ask(asked)
        except asyncio.CancelledError:
            self._uplink.notify("permission.withdraw", {"key": key})
            raise
        except RpcError as error:
            return _denied(f"Nobody could be asked: {error.message}")
        finally:
            self._closed(tool)
        if decision.get("decision") in ("once", "always"):
            return {"behavior": "allow", "updatedInput": given}
        reason = str(decision.get("text") or "")
        if decision.get("by"):
            reason = f"The operator denied it: {reason}" if reason else "The operator denied it."
        return _denied(reason)

    # -- inside ----------------------------------------------------------------

    async def _ask(self, asked: Event) -> Event:
        """Asks again when the broker was away. Raises RpcError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._within + BROKER_AWAY
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    peer = await self._uplink.up()
                answer = await peer.request("permission", asked)
            except TimeoutError:
                raise RpcError(UNAVAILABLE, "the broker is away") from None
            except RpcError as error:
                if error.code != UNAVAILABLE or loop.time() > deadline:
                    raise
                log.info("a permission is asked again: %s", error)
                await asyncio.sleep(0.2)
                continue
            return answer if isinstance(answer, dict) else {}


def _denied(message: str) -> Event:
    return {"behavior": "deny", "message": message or "It was denied."}
