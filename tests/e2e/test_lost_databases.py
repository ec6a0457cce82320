"""Every database is deleted while containers run: nothing healthy is restarted for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.proc import processes
from support.swarm import Swarm, swarm

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.timeout(240)]

KEPT = {"hive.git", "inbox.git", "keys", "agents"}
NAMES = ("hm1nd", "scout")


def containers(hive: Swarm) -> set[tuple[int, str]]:
    """Host pid and group of each container's PID 1: another one after any restart."""
    group = f"hive{hive.layout.tag}"
    return {(p.pid, p.groups) for p in processes() if p.inner_pid == 1 and group in p.groups}


def lose_databases(root: Path) -> set[str]:
    found = [path for path in root.iterdir() if path.name not in KEPT]
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return {path.name for path in found}


@pytest.mark.parametrize("when", ["while all runs", "between two lives"])
async def test_no_container_is_restarted_for_a_lost_database(tmp_path, when):
    async with swarm(tmp_path / "root", "--rehearse") as hive:
        await hive.cli("spawn", "scout", "--description", "sees far")
        await hive.cli(
            "approve", "1", "--expect", (await hive.json("show", "1"))["effect"]["digest"]
        )
        uids = {name: (await hive.ready(name))["uid"] for name in NAMES}
        running = containers(hive)
        assert len(running) == len(NAMES)
        if when == "while all runs":
            assert {"broker", "dashboard", "reconciler"} <= lose_databases(hive.root)
            await hive.host("reconcile", wait=True)
            assert containers(hive) == running
        await hive.lose_up()
        lose_databases(hive.root)
        again = Swarm(hive.root)
        await again.start()
        try:
            assert {name: (await again.ready(name))["uid"] for name in NAMES} == uids
            await again.host("reconcile", wait=True)
            assert (await again.host("plan"))["actions"] == []
            assert containers(hive) == running
            assert (await again.json("show", "1"))["state"] == "merged"
        finally:
            assert await again.stop() == 0
