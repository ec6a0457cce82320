"""Real containers for tests: nspawn for root, bubblewrap for everybody else."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hive_reconciler.runtime.base import Bind, Container, Observed, Phase
from hive_reconciler.runtime.choose import choose
from hive_reconciler.runtime.processes import identify
from hive_reconciler.runtime.records import Cabinet
from hive_reconciler.runtime.supervised import SupervisedRuntime
from hive_reconciler.runtime.toolchain import interpreter_binds
from hive_wire.paths import Layout

AS_ROOT = os.geteuid() == 0
UID = "abcdefghijkl"
WAITS = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 600 & wait $!; done"
GO = "until [ -e /state/go ]; do sleep 0.02; done; rm /state/go; "  # then its test calls Site.go()
DEAF = "trap '' TERM; echo up; while :; do sleep 600 & wait $!; done"


def missing() -> str:
    """What containers need and this machine lacks; "" when they can run."""
    program = "systemd-nspawn" if AS_ROOT else "bwrap"
    return "" if shutil.which(program) else f"{program} is not installed"


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a condition that nothing announces."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def dead(pid: int) -> bool:
    """Gone, or waiting for its parent to notice."""
    return identify(pid) is None


class Site:
    """One root with its runtime."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout.of(root)
        self.layout.root.mkdir(exist_ok=True)
        self.layout.make_run()
        self.runtime = self.fresh_runtime()

    def fresh_runtime(self) -> SupervisedRuntime:
        runtime = choose("auto", self.layout)
        assert isinstance(runtime, SupervisedRuntime)
        return runtime

    def container(self, script: str = WAITS, name: str = "h-x", uid: str = UID) -> Container:
        """A container that runs a shell script; what is bound exists then."""
        home, run = self.layout.agent(uid), self.layout.agent_run(uid)
        for path in (home / "state", home / "claude", run):
            path.mkdir(parents=True, exist_ok=True)
        return Container(
            name=name,
            uid=uid,
            agent=name.removeprefix("h-"),
            role="agent",
            revision="r1",
            restart_key="k1",
            memory=256 << 20,
            cpus=1.0,
            tasks=64,
            limits_required=False,
            network="none",
            binds=(
                Bind(run, Path("/run/hive")),
                Bind(home / "state", Path("/state"), read_only=False, idmap=True),
                Bind(home / "claude", Path("/root/.claude"), read_only=False, idmap=True),
            ),
            environment=(("GREETING", "hello there"),),
            argv=("/bin/sh", "-c", script),
        )

    async def python(
        self, script: Path, *args: str, name: str = "h-x", uid: str = UID
    ) -> Container:
        """A container that runs a Python script of the tests."""
        prefix, binds = await asyncio.to_thread(interpreter_binds)
        target = Path("/opt/probe.py")
        container = self.container(name=name, uid=uid)
        return replace(
            container,
            argv=(*prefix, "-I", str(target), *args),
            binds=(*container.binds, *binds, Bind(script, target, idmap=True)),
        )

    def state(self, uid: str = UID) -> Path:
        return self.layout.agent(uid) / "state"

    def go(self, uid: str = UID) -> None:
        (self.state(uid) / "go").touch()

    async def one(self, name: str = "h-x") -> Observed:
        return {seen.name: seen for seen in await self.runtime.observe()}[name]

    async def phase(self, name: str = "h-x") -> Phase:
        return (await self.one(name)).phase

    async def until_phase(self, phase: Phase, name: str = "h-x", seconds: float = 20) -> Observed:
        async with asyncio.timeout(seconds):
            while (seen := await self.one(name)).phase is not phase:
                await asyncio.sleep(0.01)
        return seen

    async def printed(self, line: str, name: str = "h-x") -> None:
        """Wait until the container printed this line."""
        async with asyncio.timeout(20):
            while line not in await self.runtime.logs(name, 10_000):
                await asyncio.sleep(0.01)

    async def processes(self, name: str = "h-x") -> tuple[int, int, int]:
        """Pids of shim, supervisor and PID 1."""
        living = await asyncio.to_thread(Cabinet(self.layout).entry(name).living)
        assert living.shim is not None
        assert living.supervisor is not None
        assert living.leader is not None
        return living.shim.pid, living.supervisor.pid, living.leader.pid

    async def close(self) -> None:
        for seen in await self.runtime.observe():
            await self.runtime.destroy(seen.name)
        await self.runtime.close()
        shutil.rmtree(self.layout.run)
