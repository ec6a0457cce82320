"""What one harness costs at its start and at rest, and a hundred idle agents in all.

python bench/harness.py [--repetitions 9] [--rest SECONDS] [--agents 100]

The agents are a real `hive up` in nspawn containers (needs root). Their rehearsal engines are
counted too, though the harness stops an engine after ten idle minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from hive import started
from idle_memory import Idle, Memory, measure, memory_of
from measure import Aim, Spread, report, shuffled, table
from support.fake_broker import FakeBroker
from support.harness_process import ANSWER, HarnessProcess
from support.swarm import Swarm

BARE = "bare asyncio interpreter, start to exit"
CONNECTED = "harness, start to welcome"
AGENT_LIMIT = 40.96  # MiB each, PSS of everything: 4 GiB for a hundred


async def bare() -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import asyncio; asyncio.run(asyncio.sleep(0))"
    )
    await process.wait()
    return time.perf_counter() - began


async def connected() -> float:
    """Seconds until the broker has answered the hello."""
    with tempfile.TemporaryDirectory(prefix="hive-bench-") as scratch:
        harness = HarnessProcess(Path(scratch))
        harness.agent()
        async with FakeBroker(harness.run) as broker:
            began = time.perf_counter()
            async with harness:
                await broker.until(lambda: broker.hellos)
                took = time.perf_counter() - began
                await broker.state("idle")
            return took


async def at_rest(rest: float) -> tuple[Memory, float]:
    """A harness that played a turn and whose engine was stopped; its wake-ups a second."""
    with tempfile.TemporaryDirectory(prefix="hive-bench-") as scratch:
        harness = HarnessProcess(Path(scratch), "--idle-stop", "0.5")
        harness.agent()
        harness.script(ANSWER)
        async with FakeBroker(harness.run) as broker, harness:
            broker.post("hello")
            await broker.ended()
            assert harness.process is not None
            pid = harness.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children")
            async with asyncio.timeout(30):
                while children.read_text():
                    await asyncio.sleep(0.05)
            await asyncio.sleep(1)
            idle, before = Idle(), wakeups(pid)
            began = time.monotonic()
            await asyncio.sleep(rest)
            woken = (wakeups(pid) - before) / (time.monotonic() - began)
            return memory_of(pid, "harness", "", idle), woken


def wakeups(pid: int) -> int:
    """How often any of its threads slept and was woken again."""
    count = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                count += int(line.split()[1])
    return count


async def many(agents: int) -> list[Memory]:
    """Every process of a swarm of idle agents."""
    async with started("--rehearse", "--runtime", "nspawn") as swarm:
        names = [f"a{n:03d}" for n in range(agents - 1)]  # and the manager
        for name in names:
            await spawn(swarm, name)
        for name in names:
            await swarm.ready(name, timeout=600)
        assert swarm._up is not None
        return measure(swarm, swarm._up.pid, Idle())


async def spawn(swarm: Swarm, name: str) -> None:
    made = await swarm.host("spawn", name=name, description="rests")
    digest = (await swarm.host("proposal", n=made["proposal"]))["effect"]["digest"]
    await swarm.host("approve", n=made["proposal"], effect=digest)


def by_process(found: Sequence[Memory]) -> list[tuple[str, int, float, float]]:
    sums: dict[str, list[float]] = defaultdict(list)
    for m in found:
        sums[m.process].append(m.pss)
    return [(name, len(pss), sum(pss) / len(pss), sum(pss)) for name, pss in sums.items()]


async def run(repetitions: int, rest: float, agents: int) -> None:
    times = await shuffled({BARE: bare, CONNECTED: connected}, repetitions)
    spreads = {name: Spread.of(seconds) for name, seconds in times.items()}
    ratio = spreads[CONNECTED].median / spreads[BARE].median
    resting, woken = await at_rest(rest)
    found = await many(agents) if agents else []
    total = sum(m.pss for m in found)
    tables = [
        table(
            ("start", "median ms", "low", "high", "n", "ratio"),
            [
                (name, s.median, s.low, s.high, s.n, s.median / spreads[BARE].median)
                for name, s in spreads.items()
            ],
        ),
        table(
            ("harness at rest", "RSS MiB", "PSS", "private", "wake-ups/s", "CPU ms/s"),
            [("alone", resting.rss, resting.pss, resting.private, woken, resting.cpu)],
        ),
    ]
    aims = [
        Aim("harness connected, beside a bare asyncio interpreter", ratio, 2, "×"),
        Aim("harness at rest", resting.rss, 24, "MiB RSS"),
        Aim("harness at rest, private", resting.private, 14, "MiB"),
        Aim("wake-ups of a harness at rest", woken, 0, "a second"),
    ]
    if found:
        tables.append(table(("process", "count", "PSS MiB each", "in all"), by_process(found)))
        aims.append(
            Aim(f"{agents} idle agents, everything", total, AGENT_LIMIT * agents, "MiB PSS")
        )
    data = {"spreads": {n: vars(s) for n, s in spreads.items()}, "wakeups": woken, "pss": total}
    report("harness", tables, aims, data)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repetitions", type=int, default=9)
    options.add_argument("--rest", type=float, default=10.0, help="seconds to count wake-ups")
    options.add_argument("--agents", type=int, default=100, help="with the manager; 0: none")
    given = options.parse_args()
    asyncio.run(run(given.repetitions, given.rest, given.agents))


if __name__ == "__main__":
    main()
