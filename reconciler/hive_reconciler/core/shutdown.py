"""Stops every container within seconds; turns that are cut short go on at the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..runtime.base import Observed, Phase, Runtime
from .broker import Broker
from .drain import Drain
from .operations import NOW_GRACE

DEADLINE = 20.0  # seconds


async def stop_all(
    runtime: Runtime, broker: Broker, by: str, stopping: Callable[[str], None]
) -> list[str]:
    """The containers that were stopped. `stopping` is told each uid before."""
    live = [o for o in await runtime.observe() if o.phase is not Phase.STOPPED]

    async def stop(seen: Observed) -> None:
        token = f"down-{seen.uid}"
        drain = Drain(broker, seen.uid, token, see=lambda: seen, say=lambda *_: None)
        try:
            if seen.phase is not Phase.BROKEN and broker.link.is_up:
                await drain.now(by)
            stopping(seen.uid)
            await runtime.stop(seen.name, NOW_GRACE)
        finally:
            await drain.end()

    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(stop(one) for one in live))
    return [one.name for one in live]
