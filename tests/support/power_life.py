"""A broker's short life under `power_trace.c`: all that it wrote, synced and said."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from support import power_cut
from support.broker_rig import Rig, agent, rig
from support.preload import build

A = "aaaaaaaaaaaa"
MESSAGES = 320


async def traced_life(tmp_path: Path) -> list[power_cut.Op]:
    """A broker under load, with everything that it wrote and said; then it is killed."""
    library = await asyncio.to_thread(build, "power_trace.c", tmp_path)
    root, out = tmp_path / "root", tmp_path / "trace"
    env = {
        "LD_PRELOAD": str(library),
        "TRACE_DIR": str(root / "broker") + "/",
        "TRACE_OUT": str(out),
    }
    async with rig(root, env=env) as hive:
        await hive.registry(agent(A, "scout"))
        await load(hive)
        await hive.kill()
    return power_cut.trace(out)


async def load(hive: Rig) -> None:
    """Senders at once, and a harness that ends turns; enough to empty SQLite's log often."""
    scout = await hive.harness(A)
    numbers = iter(range(MESSAGES))
    dice = random.Random(3)

    async def sender() -> None:
        for number in numbers:
            body = f"{number} " + "x" * dice.choice((10, 500, 12_000, 40_000))
            await hive.ask("send", to="scout", body=body, by="ann", key=str(number))

    async def worker() -> None:
        for _ in range(MESSAGES):
            await scout.end((await scout.granted(60))["turn"])

    await asyncio.gather(worker(), *(sender() for _ in range(6)))
