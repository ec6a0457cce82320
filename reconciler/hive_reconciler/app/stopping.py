"""Stops what runs of one root and nothing else, found by observation alone."""

from __future__ import annotations

import asyncio
from typing import get_args

from hive_wire.paths import Layout

from ..core.files import write_atomically
from ..core.shutdown import each
from ..runtime.base import Observed, Phase
from ..runtime.choose import Wish, choose

GRACE = 5.0  # seconds


def record(layout: Layout, runtime: str) -> None:
    """Which runtime this root's containers belong to, for whoever stops them without us."""
    write_atomically(layout.reconciler / "runtime", f"{runtime}\n".encode(), durable=False)


def recorded(layout: Layout) -> Wish:
    """What was recorded; "auto" where nothing was, or nothing that is a runtime."""
    try:
        said = (layout.reconciler / "runtime").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return "auto"
    return next((wish for wish in get_args(Wish) if wish == said), "auto")


async def stop_containers(layout: Layout) -> list[str]:
    """Stop every container of this root; their names. Raises RuntimeFailure."""
    runtime = choose(await asyncio.to_thread(recorded, layout), layout)
    live = [o for o in await runtime.observe() if o.phase is not Phase.STOPPED]

    async def stop(seen: Observed) -> None:
        await runtime.stop(seen.name, GRACE)

    try:
        return await each(live, stop)
    finally:
        await runtime.close()
