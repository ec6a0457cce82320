"""Stops what runs of one root and nothing else, found by observation alone."""

from __future__ import annotations

import asyncio

from hive_wire.paths import Layout

from ..runtime.base import Observed, Phase
from ..runtime.choose import choose

GRACE = 5.0  # seconds


async def stop_containers(layout: Layout) -> list[str]:
    """Stop every container of this root; their names. Raises RuntimeFailure."""
    runtime = choose("auto", layout)
    live = [o for o in await runtime.observe() if o.phase is not Phase.STOPPED]

    async def stop(seen: Observed) -> None:
        await runtime.stop(seen.name, GRACE)

    await asyncio.gather(*(stop(o) for o in live))
    await runtime.close()
    return [o.name for o in live]
