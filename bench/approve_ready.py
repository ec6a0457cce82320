"""From "approve" to a ready agent, beside a bare systemd-nspawn with the same flags. Needs root.

python bench/approve_ready.py [--repetitions 10]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from hive import Process, containers, descendants, started, watching
from measure import Aim, Spread, report, shuffled, table
from support.swarm import Swarm

LIMIT = 2.0
PYTHON = "import hive_harness.__main__, sys; print('ready', flush=True); sys.stdin.read()"
STAGES = ("merged", "supervisor started", "PID 1 started", "ready")


class Approvals:
    """Spawns one agent a call; its stages say where the time goes."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._count = 0
        self.stages: list[tuple[float, ...]] = []

    async def __call__(self) -> float:
        self._count += 1
        name = f"b{self._count}"
        spawned = await self._swarm.host("spawn", name=name, description="a bench")
        n = spawned["proposal"]
        digest = (await self._swarm.host("proposal", n=n))["effect"]["digest"]
        async with watching(self._swarm) as events:
            began, boot = time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
            await self._swarm.host("approve", n=n, effect=digest)
            merged = time.monotonic() - began
            await events.next("ready", name)
            took = time.monotonic() - began
        supervisor = containers(self._swarm)[f"h-{name}"]
        first = min(descendants(supervisor.pid, Process.all()), key=lambda p: p.pid)
        self.stages.append((merged, supervisor.started - boot, first.started - boot, took))
        await self._swarm.host("power", agent=name, action="stop")
        await self._swarm.until(f"{name} stopped", lambda: self._stopped(name))
        return took

    async def _stopped(self, name: str) -> bool:
        return f"h-{name}" not in containers(self._swarm)


class Bare:
    """The supervisor's own command line, with another name, root and payload."""

    def __init__(self, example: tuple[str, ...], root: Path, payload: tuple[str, ...]) -> None:
        end = example.index("--")
        changed = {"--machine": "hive-bench", "--hostname": "hive-bench", "--directory": str(root)}
        flags = [
            f"{key}={changed[key]}" if (key := word.partition("=")[0]) in changed else word
            for word in example[:end]
        ]
        self._argv = (*flags, "--", *payload)

    async def __call__(self) -> float:
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *self._argv,
            env={"PATH": "/usr/bin:/bin", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        said = await process.stdout.readline()
        took = time.monotonic() - began
        if said.strip() != b"ready":
            _, errors = await process.communicate()
            raise RuntimeError(f"the bare container said {said!r} {errors.decode()[-800:]!r}")
        process.stdin.close()  # and with it the payload
        await process.wait()
        return took


async def run(repetitions: int) -> tuple[dict[str, list[float]], list[tuple[float, ...]]]:
    async with started("--rehearse", "--runtime", "nspawn") as swarm, AsyncExitStack() as stack:
        approvals = Approvals(swarm)
        # The agents would talk about each spawn and load the machine while the next is timed.
        await swarm.broker("pause", uid=None, by="bench", reason="quiet")
        await swarm.host("spawn", name="example", description="lends its flags")
        example, root = await _example(swarm, stack)
        python = example[example.index("--") + 1]
        variants: dict[str, Callable[[], Awaitable[float]]] = {
            "approve to ready": approvals,
            "bare nspawn, sh": Bare(example, root, ("/bin/sh", "-c", "echo ready; exec cat")),
            "bare nspawn, harness": Bare(example, root, (python, "-S", "-c", PYTHON)),
        }
        times = await shuffled(variants, repetitions)
        return times, approvals.stages[1:]


async def _example(swarm: Swarm, stack: AsyncExitStack) -> tuple[tuple[str, ...], Path]:
    """The command line of an agent's supervisor, and a root like that agent's."""
    proposal = await swarm.open_proposal("spawn")
    await swarm.host("approve", n=proposal["n"], effect=proposal["effect"]["digest"])
    await swarm.ready("example")
    argv = containers(swarm)["h-example"].argv
    (live,) = [word.partition("=")[2] for word in argv if word.startswith("--directory=")]
    root = swarm.root / "bare-root"
    await asyncio.to_thread(shutil.copytree, live, root, symlinks=True)
    stack.callback(shutil.rmtree, root)
    return argv, root


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repetitions", type=int, default=10)
    times, stages = asyncio.run(run(options.parse_args().repetitions))
    spreads = {name: Spread.of(values) for name, values in times.items()}
    bare = spreads["bare nspawn, sh"].median
    rows = [(n, s.median, s.low, s.high, s.median / bare) for n, s in spreads.items()]
    split = [Spread.of([stage[i] for stage in stages]) for i in range(len(STAGES))]
    parts = [(name, s.median, s.low, s.high) for name, s in zip(STAGES, split, strict=True)]
    tables = [
        table(("variant", "median ms", "min", "max", "ratio"), rows),
        table(("since approve (10 ms grain)", "median ms", "min", "max"), parts),
    ]
    whole = spreads["approve to ready"].median
    same = spreads["bare nspawn, harness"].median
    aims = [
        Aim(
            "approve to ready beside bare nspawn that imports the harness", whole / same, LIMIT, "x"
        ),
        Aim("approve to ready beside bare nspawn with sh", whole / bare, LIMIT, "x"),
    ]
    data = {"seconds": times, "stages": dict(zip(STAGES, zip(*stages, strict=True), strict=True))}
    report("approve_ready", tables, aims, data)


if __name__ == "__main__":
    main()
