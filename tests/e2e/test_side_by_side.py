"""One instance a root; several roots on one machine; stop stops its own and no more."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from support.proc import processes
from support.swarm import Swarm, swarm

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.timeout(240)]


def processes_of(hive: Swarm) -> list[str]:
    """Commands that name this root or run in one of its containers."""
    root, group = str(hive.root), f"hive{hive.layout.tag}"
    return [" ".join(p.command) for p in processes() if root in p.command or group in p.groups]


async def test_two_roots_side_by_side(tmp_path):
    async with (
        swarm(tmp_path / "one", "--rehearse") as one,
        swarm(tmp_path / "two", "--rehearse") as two,
    ):
        await asyncio.gather(one.ready("hm1nd"), two.ready("hm1nd"))
        await one.cli("send", "hm1nd", "to one only")
        await one.message("hm1nd", "operator")
        assert (await two.broker("messages", limit=10))["messages"] == []

        assert await one.stop() == 0
        assert processes_of(one) == []
        assert (await two.ready("hm1nd"))["in_sync"]
        assert processes_of(two)


async def test_a_second_up_on_the_same_root_is_refused(tmp_path):
    async with swarm(tmp_path / "root", "--rehearse") as hive:
        said = await hive.cli("up", "--rehearse", "--port", "0", check=1)
        assert "already" in said
        await hive.ready("hm1nd")


async def test_down_stops_what_a_killed_up_left(tmp_path):
    async with swarm(tmp_path / "root", "--rehearse") as hive:
        await hive.ready("hm1nd")
        os.kill(hive.pid("up"), signal.SIGKILL)
        await hive.cli("down")

        async def gone() -> bool:
            return processes_of(hive) == []

        await hive.until("nothing is left", gone)


async def test_containers_outlive_up_and_are_adopted(tmp_path):
    async with swarm(tmp_path / "root", "--rehearse") as hive:
        manager = await hive.ready("hm1nd")
        boot = (await hive.broker("agents"))["agents"][0]["boot"]
        await hive.lose_up()
        again = Swarm(hive.root)
        await again.start()
        try:
            assert (await again.ready("hm1nd"))["uid"] == manager["uid"]
            assert (await again.broker("agents"))["agents"][0]["boot"] == boot
        finally:
            assert await again.stop() == 0
