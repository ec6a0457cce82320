"""How long the event loop does nothing else, while everything is another all at once."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import Mock

from hive_reconciler.app.host_api import HostApi
from hive_reconciler.core.containers import Toolchain
from hive_reconciler.git.listing import Entry
from hive_reconciler.git.repositories import PARSED
from hive_reconciler.model.tree import DIRECTORY, FILE
from hive_reconciler.runtime.base import Observed
from hive_wire.jsonrpc import Peer
from hive_wire.sockets import listen

if TYPE_CHECKING:
    from reconcile import Bench

BLINK = 0.002  # seconds between two looks at the loop's clock
AWHILE = 4.0  # seconds of what goes on for minutes


class Lag:
    """How long a call that is due waits for the event loop, at most, and how much its thread
    computes between two of them; in seconds."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.worst = self.computed = 0.0

    def watch(self) -> None:
        """From now on, until `end`."""
        self._loop, self._used = asyncio.get_running_loop(), time.thread_time()
        self._again()

    def end(self) -> None:
        self._due.cancel()

    def _again(self) -> None:
        self._due = self._loop.call_later(BLINK, self._look, self._loop.time() + BLINK)

    def _look(self, due: float) -> None:
        used = time.thread_time()
        self.worst = max(self.worst, self._loop.time() - due)
        self.computed = max(self.computed, used - self._used)
        self._used = used
        self._again()


class Blocking:
    """One case after the other; each leaves a swarm that all runs as it should, or its ruins to
    the next, which begins with its own."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.found: dict[str, tuple[float, float]] = {}
        self._lag = Lag()

    async def measure(self) -> None:
        cases: dict[str, Callable[[], Awaitable[None]]] = {
            "observed otherwise, all": self._seen_otherwise,
            "harnesses away, all": self._away,
            "status and plan, meanwhile": self._asked,
            "suspended, all": self._suspended,
            "one commit changes all": self._changed,
            "another toolchain": self._toolchain,
            "a start with cache": self._start_cached,
            "a start without": self._start,
            "all agents new": self._new,
            "all removed": self._removed,
        }
        for what, case in cases.items():
            self._lag = lag = Lag()
            lag.watch()
            await case()
            lag.end()
            self.found[what] = (lag.worst, lag.computed)
            words = f"{what}: {lag.worst * 1e3:.1f} ms, {lag.computed * 1e3:.1f} of CPU"
            print(words, file=sys.stderr, flush=True)

    async def _seen_otherwise(self) -> None:
        runtime, bench = self._bench.runtime, self._bench
        for extra in ({"started": 1.0}, {"started": 2.0, "tasks": 7}):
            known, others = runtime.containers, dict[str, Observed]()
            for name, one in known.items():
                others[name] = replace(one, **extra)
                await asyncio.sleep(0)  # what the bench itself does is not to count
            runtime.containers = others
            await bench.core.round()
            await bench.core.round()

    async def _away(self) -> None:
        bench, ready = self._bench, set(self._bench.broker.ready)
        for now in (set[str](), ready):
            bench.broker.ready = now
            bench.core.broker._wake()
            await bench.core.round()
            await bench.core.round()
        await bench.calm()

    async def _asked(self) -> None:
        bench = self._bench
        api = HostApi(bench.core, Mock())
        server = await listen(bench.layout.host_sock, lambda: Peer(api.handlers()))
        bench.core._find_toolchain = lambda: OTHER
        for command in (("status",), ("reconcile", "--dry-run")):
            asking = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hive_reconciler.app.cli", *command, "--json"),
                *("--root", str(bench.layout.root)),
                stdout=asyncio.subprocess.DEVNULL,
            )
            while asking.returncode is None:
                bench.core.broker._wake()
                await bench.core.round()
                await asyncio.sleep(0.02)
            assert asking.returncode == 0
        server.close()
        bench.core._find_toolchain = lambda: bench.tools
        await self._go_on()

    async def _suspended(self) -> None:
        core = self._bench.core
        for words in ({"*": "the bench"}, dict[str, str]()):
            core.picture.suspensions = words
            await core.round()
        await self._bench.calm()

    async def _changed(self) -> None:
        await asyncio.to_thread(self._bench.commit, self._with_other_defaults)
        await self._go_on()

    def _with_other_defaults(self, tree: str) -> str:
        trees = self._bench.all.trees
        found = trees.entry(tree, "hive.toml")
        assert found is not None
        text = trees.blob(found.oid).decode()
        text = text.replace("[defaults]", "[defaults]\nbudget.turns_per_hour = 61")
        return trees.put(tree, "hive.toml", Entry(FILE, trees.write_blob(text.encode())))

    async def _removed(self) -> None:
        await asyncio.to_thread(self._bench.commit, self._without_agents)
        gone = frozenset(
            o.uid for o in self._bench.runtime.containers.values() if o.name != "hm1nd"
        )
        self._bench.core.picture.may_destroy = gone  # as if the merge had allowed it
        await self._go_on()

    def _without_agents(self, tree: str) -> str:
        trees = self._bench.all.trees
        known = trees.entries(trees.subtree(tree, "agents"))
        return trees.put(tree, "agents", Entry(DIRECTORY, trees.write({"hm1nd": known["hm1nd"]})))

    async def _toolchain(self) -> None:
        self._bench.core._find_toolchain = lambda: OTHER
        await self._go_on()
        self._bench.core._find_toolchain = lambda: self._bench.tools
        await self._go_on()

    async def _start_cached(self) -> None:
        await self._restart()

    async def _start(self) -> None:
        (self._bench.layout.reconciler / PARSED).unlink()
        await self._restart()

    async def _new(self) -> None:
        self._bench.runtime.containers.clear()
        await self._restart()

    async def _restart(self) -> None:
        await self._bench.end()
        await asyncio.sleep(2 * BLINK)
        self._lag.clear()  # no process ends like this
        await self._bench.begin()
        await self._go_on()

    async def _go_on(self) -> None:
        """Rounds for a while, with what they began under way."""
        end = time.monotonic() + AWHILE
        while time.monotonic() < end:
            await self._bench.core.round()
            await asyncio.sleep(0.02)


OTHER = Toolchain("t2", ("python3", "-m", "hive_harness"), (), ())
