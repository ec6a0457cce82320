"""hive purge, and hive down by the recorded runtime, with real containers and the real command."""

from __future__ import annotations

import os
import shutil

import pytest
from support.swarm import swarm

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]

RUNTIMES = [
    pytest.param("nspawn", "process", marks=[pytest.mark.root]),
    pytest.param(
        "process",
        "nspawn",
        marks=pytest.mark.skipif(
            os.geteuid() == 0 or shutil.which("bwrap") is None,
            reason="the process runtime is for people without root, with bubblewrap",
        ),
    ),
]


async def approved(hive, kind):
    n = (await hive.open_proposal(kind))["n"]
    digest = (await hive.shown(n))["effect"]["digest"]
    await hive.cli("approve", str(n), "--expect", digest)


@pytest.mark.parametrize(("runtime", "other"), RUNTIMES)
async def test_what_is_kept_is_purged_and_a_killed_swarm_is_stopped(tmp_path, runtime, other):
    async with swarm(tmp_path / "root", "--rehearse", "--runtime", runtime) as hive:
        await hive.ready("hm1nd")
        await hive.cli("spawn", "scout", "--description", "x")
        await approved(hive, "spawn")
        uid = (await hive.ready("scout"))["uid"]
        state = hive.layout.agent(uid)
        assert "is retired first" in await hive.cli("purge", "scout", check=1)
        await hive.cli("retire", "scout")
        await approved(hive, "retire")

        async def gone():
            status = await hive.host("status")
            return all(agent["name"] != "scout" for agent in status["agents"])

        await hive.until("scout is retired", gone)
        await hive.cli("status", "--wait")
        assert state.is_dir(), "a retired agent keeps its state"
        assert f"state and session of {uid} are gone" in await hive.cli("purge", "scout")
        assert not state.exists()
        assert [name for name in os.listdir(hive.layout.root / "agents") if uid in name] == []
        await hive.cli("purge", "scout", check=1)

        record = hive.layout.reconciler / "runtime"
        assert record.read_text() == f"{runtime}\n"
        os.kill(hive._up.pid, 9)
        await hive._up.wait()
        record.write_text(f"{other}\n")  # it goes by what was recorded, not by who asks
        assert "runtime" in await hive.cli("down", check=1)
        record.write_text(f"{runtime}\n")
        assert "stopped hm1nd" in await hive.cli("down")
        assert "nothing was running" in await hive.cli("down")
