"""The loop beside the git CLI doing the same reads, for N agents; and a chart of it.

python bench/reconcile.py [--sizes 10,100,1000,10000] [--repetitions 9]

Real git and the real core; runtime and broker are doubles in the same process, so that the
memory counts them too; the broker's has a thread and an event loop of its own. Each size has a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from blocking import Blocking, Lag
from measure import Aim, Spread, report, shuffled, table
from proposals import populate
from support.fake_runtime import FakeRuntime
from support.host_broker import HostBroker

from hive_reconciler.core.containers import Toolchain, build
from hive_reconciler.core.files import Owners, make_run
from hive_reconciler.core.loop import Reconciler
from hive_reconciler.core.pauses import keep_short
from hive_reconciler.git.durable import RefChange
from hive_reconciler.git.first import FirstCommit
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.listing import Entry
from hive_reconciler.git.repositories import PARSED, read_repositories
from hive_reconciler.model.desired import Valid
from hive_reconciler.model.tree import FILE
from hive_reconciler.runtime.base import Phase
from hive_wire.paths import Layout

NOOP, CHANGED = "no-op round", "one agent changed"
REV_PARSE, DIFF_TREE = "git rev-parse", "git diff-tree"
COLD, CACHED = "cold start, full parse", "cold start, with cache"
ORDINARY = "rounds, one agent changed"


class Bench:
    """A swarm of N agents that all run as they should."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout.of(root)
        self.runtime = FakeRuntime()
        self.broker = HostBroker(self.layout)
        self.tools = Toolchain("t1", ("python3", "-m", "hive_harness"), (), ())
        self._count = 0

    async def open(self, agents: int) -> None:
        self._owners = Owners.of(self.layout)
        self.layout.make_run()
        make_run(self.layout, self._owners)
        self.layout.reconciler.mkdir(parents=True, exist_ok=True)
        first = FirstCommit(engine="rehearsal")
        self.hive = await Hive.open(self.layout, runtime_reads_nix=False, first=first)
        tip = await self.hive._thread.run(populate, self.hive, agents)
        await self.hive.accept(tip, "bench", "the bench's own")
        self.all = read_repositories(self.layout)
        self._elsewhere = asyncio.new_event_loop()  # what the doubles do is not to count
        threading.Thread(target=self._elsewhere.run_forever, daemon=True).start()
        await self._of_the_broker(self.broker.start())
        desired = await self.hive.read()
        for name, entry in desired.agents.items():
            assert isinstance(entry, Valid)
            container = build(self.layout, desired, name, entry, self.tools)
            self.runtime._set(container, Phase.RUNNING)
            self.broker.hello(container.uid)
        self.begin_core()
        while self.core.broker.down_since is not None:
            await asyncio.sleep(0.01)
        await self.calm()

    def begin_core(self) -> None:
        self.core = Reconciler(
            self.layout,
            self._owners,
            self.hive,
            runtime=self.runtime,
            find_toolchain=lambda: self.tools,
            on_change=lambda: None,
        )
        self._link = asyncio.create_task(self.core.broker.run())

    async def end_core(self) -> None:
        await self.core._operations.close()
        self._link.cancel()
        await asyncio.gather(self._link, return_exceptions=True)

    async def end(self) -> None:
        """As if the process ended, which would take with it what is held in cycles."""
        await self.end_core()
        await self.hive.close()
        del self.core, self.hive
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    async def begin(self) -> None:
        """As another process does, with what the former left on disk."""
        self.hive = await Hive.open(self.layout, runtime_reads_nix=False)
        self.begin_core()

    async def calm(self) -> None:
        """Rounds until one finds nothing new; at least one, which sees what git has now."""
        await self.core.round()
        while not (self.core._is_calm and self.core._nothing_new()):
            await self.core.round()
            await asyncio.sleep(0)

    async def close(self) -> None:
        await self.end()
        await self._of_the_broker(self.broker.stop())
        self._elsewhere.call_soon_threadsafe(self._elsewhere.stop)

    async def _of_the_broker(self, work: Coroutine[object, object, None]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._elsewhere))

    def change(self) -> tuple[str, str]:
        """Another writer changes one agent's prompt; (before, after)."""
        self._count += 1
        trees = self.all.trees

        def prompted(tree: str) -> str:
            blob = trees.write_blob(f"Prompt {self._count}.\n".encode())
            return trees.put(tree, "agents/a5/prompt.md", Entry(FILE, blob))

        return self.commit(prompted)

    def commit(self, change: Callable[[str], str]) -> tuple[str, str]:
        """Another writer's commit, which makes a tree of a tree; (before, after)."""
        store, trees = self.all.store, self.all.trees
        before = self.all.history.tip()
        with trees.scratch():
            tree = change(store.tree_of(before))
            after = trees.write_commit(store.commit_text("change\n", tree, (before,)))
            store.land(trees.unwritten(after))
        store.tag(f"accepted/{after}", after, "the bench's own")
        store.land((), RefChange("refs/heads/applied", after, before))
        return before, after

    # -- what is timed -------------------------------------------------------------

    async def noop(self) -> float:
        began = time.perf_counter()
        await self.core.round()
        return time.perf_counter() - began

    async def changed(self) -> float:
        await asyncio.to_thread(self.change)
        began = time.perf_counter()
        plan = await self.core.round()
        took = time.perf_counter() - began
        assert plan is not None
        assert [a.agent for a in plan.changes] == ["a5"]
        await self.calm()
        return took

    async def rev_parse(self) -> float:
        return await asyncio.to_thread(self._git, "rev-parse", "refs/heads/applied")

    async def diff_tree(self) -> float:
        before, after = await asyncio.to_thread(self.change)
        took = await asyncio.to_thread(self._git, "diff-tree", "-r", before, after)
        await self.calm()
        return took

    def _git(self, *arguments: str) -> float:
        began = time.perf_counter()
        where = ("--git-dir", str(self.layout.hive_git))
        subprocess.run(["git", *where, *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    async def cold(self, *, cached: bool) -> float:
        """The first read of a process; with the specs that the last one kept, or without."""
        if not cached:
            (self.layout.reconciler / PARSED).unlink(missing_ok=True)
        hive = await Hive.open(self.layout, runtime_reads_nix=False)
        try:
            began = time.perf_counter()
            await hive.read()
            return time.perf_counter() - began
        finally:
            await hive.close()


async def at_size(agents: int, repetitions: int) -> dict[str, object]:
    logging.disable(logging.WARNING)  # that a range of ports is full is no news here
    keep_short()
    with tempfile.TemporaryDirectory(prefix="hive-bench-") as folder:
        bench = Bench(Path(folder) / "root")
        await bench.open(agents)
        variants: dict[str, Callable[[], Awaitable[float]]] = {
            NOOP: bench.noop,
            REV_PARSE: bench.rev_parse,
            CHANGED: bench.changed,
            DIFF_TREE: bench.diff_tree,
        }
        lag = Lag()
        lag.watch()
        times = await shuffled(variants, repetitions)
        lag.end()
        memory = peak()
        starts: dict[str, Callable[[], Awaitable[float]]] = {
            COLD: lambda: bench.cold(cached=False),
            CACHED: lambda: bench.cold(cached=True),
        }
        times |= await shuffled(starts, max(3, repetitions // 2))
        blocking = Blocking(bench)  # the last: it leaves no swarm
        await blocking.measure()
        lags = {ORDINARY: (lag.worst, lag.computed), **blocking.found}
        afterwards = peak()
        await bench.close()
    return {"times": times, "lags": lags, "memory": memory, "afterwards": afterwards}


def peak() -> float:
    """MiB that were resident at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_child(agents: int, repetitions: int) -> dict[str, object]:
    argv = [sys.executable, __file__, "--one", str(agents), "--repetitions", str(repetitions)]
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(sizes: list[int], repetitions: int) -> None:
    found = {size: in_child(size, repetitions) for size in sizes}
    spreads = {
        size: {what: Spread.of(t) for what, t in one["times"].items()}  # type: ignore[attr-defined]
        for size, one in found.items()
    }
    rows = [(n, what, s.median, s.low, s.high) for n, v in spreads.items() for what, s in v.items()]
    costs = [(n, one["memory"], one["afterwards"]) for n, one in found.items()]
    blocked = [
        (n, what, worst * 1000, computed * 1000)
        for n, one in found.items()
        for what, (worst, computed) in one["lags"].items()  # type: ignore[attr-defined]
    ]

    def ratio(size: int, one: str, other: str) -> float:
        return spreads[size][one].median / spreads[size][other].median

    mid, most = (1000 if 1000 in found else sizes[-1]), sizes[-1]
    aims = [
        Aim(f"no-op round at {mid}", ratio(mid, NOOP, REV_PARSE), 2, "× git rev-parse"),
        Aim(f"one of {most} changed", ratio(most, CHANGED, DIFF_TREE), 5, "× git diff-tree"),
        Aim(f"cold start with cache at {mid}", ratio(mid, CACHED, COLD), 0.25, "× full parse"),
        Aim(f"peak memory at {most}", float(str(found[most]["memory"])), 250, "MiB"),
        Aim(f"loop blocked at {most}", max(b[2] for b in blocked if b[0] == most), 50, "ms"),
    ]
    tables = [
        table(("agents", "what", "median ms", "min", "max"), rows),
        table(("agents", "peak MiB", "when all was another at once"), costs),
        table(("agents", "loop blocked by", "ms", "of its own CPU"), blocked),
    ]
    data = {
        "sizes": {n: {k: vars(s) for k, s in v.items()} for n, v in spreads.items()},
        "costs": {n: {"memory": m, "afterwards": a} for n, m, a in costs},
        "blocked": blocked,
    }
    report("reconcile", tables, aims, data)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10,100,1000,10000")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(asyncio.run(at_size(options.one, options.repetitions))))
    else:
        main([int(size) for size in options.sizes.split(",")], options.repetitions)
