"""Limits hold, are told when nothing holds them, and end nobody but who broke them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.containers import GO, WAITS, Site

from hive_reconciler.runtime import cgroups, doctor
from hive_reconciler.runtime.base import Phase, RuntimeFailure
from hive_reconciler.runtime.cgroups import Group, Groups
from hive_reconciler.runtime.hierarchies import Tree, trees
from hive_reconciler.runtime.nspawn import NspawnRuntime

pytestmark = pytest.mark.root

EAT = "head -c 400000000 /dev/zero | tail"  # tail keeps a line without end in memory


@pytest.fixture
def group(site: Site) -> Group:
    return Groups(site.layout.tag, trees()).group("h-x")


def value(group: Group, *names: str) -> str:
    """The kernel's value under its v1 or its v2 name."""
    files = [path / name for _, path in group.places for name in names]
    return next(file for file in files if file.exists()).read_text().strip()


async def test_limits_are_set_and_changed_in_place(site: Site, group: Group) -> None:
    container = replace(site.container(), memory=128 << 20, cpus=0.5, tasks=40)
    await site.runtime.start(container)
    assert value(group, "memory.limit_in_bytes", "memory.max") == str(128 << 20)
    assert value(group, "pids.max") == "40"
    assert value(group, "cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert (await site.one()).unenforced == ()
    await site.runtime.update(replace(container, memory=192 << 20, cpus=2.0, tasks=50))
    assert value(group, "memory.limit_in_bytes", "memory.max") == str(192 << 20)
    assert value(group, "pids.max") == "50"
    assert value(group, "cpu.cfs_quota_us", "cpu.max").split()[0] == "200000"
    assert value(group, "cpu.cfs_burst_us", "cpu.max.burst") == "200000"
    await site.runtime.update(replace(container, cpus=0.2))
    assert value(group, "cpu.cfs_quota_us", "cpu.max").split()[0] == "20000"
    assert value(group, "cpu.cfs_burst_us", "cpu.max.burst") == "20000"
    await site.runtime.update(replace(container, memory=128 << 20))
    assert value(group, "memory.limit_in_bytes", "memory.max") == str(128 << 20)


async def test_a_child_that_eats_memory_is_killed_and_the_container_goes_on(site: Site) -> None:
    container = replace(site.container(f"{GO} {EAT}; echo survived; {WAITS}"), memory=100 << 20)
    await site.runtime.start(container)
    site.go()
    await site.printed("survived")
    assert await site.phase() is Phase.RUNNING


async def test_a_pid_1_that_eats_memory_is_told_apart_from_a_crash(site: Site) -> None:
    script = site.layout.root / "eat.py"
    script.write_text("x = bytearray(900 << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\n")
    container = await site.python(script)
    try:
        await site.runtime.start(replace(container, memory=100 << 20))
    except RuntimeFailure as failure:
        assert failure.reason == "StartFailed"  # it was that quick
        return
    seen = await site.until_phase(Phase.STOPPED)
    assert seen.oom_killed
    assert seen.exit_status not in (0, None)


async def test_a_fork_bomb_stays_inside_and_stop_ends_it(site: Site) -> None:
    # What was forked stays: a shell that may fork no more ends, and such a bomb burns out unseen.
    bomb = "echo lit; (while :; do sleep 300 & done); sleep 300"
    container = replace(site.container(GO + "trap '' TERM; " + bomb), tasks=30)
    await site.runtime.start(container)
    site.go()
    await site.printed("lit")
    async with asyncio.timeout(40):
        while (tasks := (await site.one()).tasks or 0) < 20:
            await asyncio.sleep(0.01)
    assert tasks <= 30
    await site.runtime.stop("h-x", 0.2)
    assert await site.phase() is Phase.STOPPED


async def test_a_fork_bomb_is_ended_on_kernels_without_a_group_kill(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As before Linux 5.14: only signals, and whoever forks faster than they come.
    monkeypatch.setattr(cgroups, "KILL_FILE", "no-such-file")
    bomb = "while :; do setsid sh -c 'sleep 0.01 & sleep 0.01 & wait' & done"
    container = replace(site.container(f"{GO} trap '' TERM; {bomb}"), tasks=60)
    await site.runtime.start(container)
    site.go()
    async with asyncio.timeout(20):
        while ((await site.one()).tasks or 0) < 20:
            await asyncio.sleep(0.01)
    await site.runtime.stop("h-x", 0)
    assert await site.phase() is Phase.STOPPED


async def test_limits_that_nothing_holds_are_told_or_refused(site: Site, group: Group) -> None:
    runtime = NspawnRuntime(site.layout)
    some = tuple(tree for tree, _ in group.places if "memory" not in tree.controllers)
    runtime._groups = Groups(site.layout.tag, some)
    container = site.container()
    with pytest.raises(RuntimeFailure, match="memory") as failure:
        await runtime.start(replace(container, limits_required=True))
    assert failure.value.reason == "LimitsNotEnforced"
    assert failure.value.permanent
    await runtime.start(container)
    assert [one.unenforced for one in await runtime.observe()] == [("memory",)]
    await runtime.destroy("h-x")


def test_doctor_calls_no_limit_held_that_a_group_does_not_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Tree(tmp_path, 1, frozenset({"memory", "pids", "cpu"}))
    monkeypatch.setattr(doctor, "trees", lambda: (listed,))
    assert [finding.ok for finding in doctor._limits()] == [False] * 3
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert [finding.ok for finding in doctor._limits()] == [True] * 3
    assert list(Path("/sys/fs/cgroup").rglob("hive-doctor-*")) == []


IN_A_GROUP = """
import sys
from pathlib import Path
from hive_reconciler.runtime import doctor
from hive_wire.paths import Layout
for door in sys.argv[2:]:
    Path(door).write_text("0")
print(doctor._trial(Layout.of(Path(sys.argv[1])), "nspawn"))
"""


def test_doctor_leaves_nothing_in_the_group_that_it_runs_in(site: Site, group: Group) -> None:
    group.make()
    try:
        done = subprocess.run(
            [sys.executable, "-c", IN_A_GROUP, str(site.layout.root), *group.doors()],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "ok=True" in done.stdout, done.stdout + done.stderr
        assert [folder for _, path in group.places for folder in path.glob("*/")] == []
    finally:
        group.remove()
        Groups(site.layout.tag).tidy()


async def test_nothing_of_a_group_is_left(site: Site) -> None:
    await site.runtime.start(site.container())
    await site.runtime.start(site.container(name="h-y", uid="abcdefghij02"))
    await site.runtime.stop("h-x", 1)
    await site.runtime.start(site.container())
    await site.runtime.stop("h-x", 1)
    await site.runtime.stop("h-y", 1)
    left = list(Path("/sys/fs/cgroup").rglob(f"hive{site.layout.tag}*"))
    assert left == []
