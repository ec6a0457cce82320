"""README's story with real containers, by the `hive` command."""

from __future__ import annotations

import os
import shutil

import pytest
from support.swarm import Swarm, swarm

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]

RUNTIMES = [
    pytest.param("nspawn", marks=[pytest.mark.root]),
    pytest.param(
        "process",
        marks=pytest.mark.skipif(
            os.geteuid() == 0 or shutil.which("bwrap") is None,
            reason="the process runtime is for people without root, with bubblewrap",
        ),
    ),
]


async def approve(hive: Swarm, n: int) -> None:
    digest = (await hive.host("proposal", n=n))["effect"]["digest"]
    await hive.cli("approve", str(n), "--expect", digest)


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_the_story(tmp_path, runtime):
    async with swarm(tmp_path / "root", "--rehearse", "--runtime", runtime) as hive:
        await hive.ready("hm1nd")
        await hive.cli("send", "hm1nd", "we need a scout")

        spawn = await hive.open_proposal("spawn")
        shown = await hive.cli("show", str(spawn["n"]))
        assert "agents/scout/agent.toml" in shown
        await approve(hive, spawn["n"])
        scout = await hive.ready("scout")
        await hive.message("system", "hm1nd", kind="spawned")
        await hive.message("hm1nd", "scout")
        await hive.message("scout", "hm1nd")

        state = hive.layout.agent(scout["uid"]) / "state"
        (state / "kept").write_text("kept")
        apply = await hive.open_proposal("apply")
        assert "agent.nix" in await hive.cli("show", str(apply["n"]))
        await hive.cli("deny", str(apply["n"]), "--reason", "too much memory for a scout")
        denied = await hive.message("system", "hm1nd", "too much memory", kind="approval_resolved")
        again = await hive.open_proposal("apply")
        assert again["n"] > apply["n"]
        await approve(hive, again["n"])
        await hive.message("system", "hm1nd", kind="approval_resolved", after=denied["id"])

        question = await hive.question()
        assert question["options"]
        await hive.cli("answer", str(question["id"]), "--choose", "1")
        await hive.message("system", "hm1nd", kind="operator_answered")

        updated = await hive.ready("scout")
        assert updated["uid"] == scout["uid"]
        assert updated["in_sync"]
        assert updated["revision"] != scout["revision"]
        assert (state / "kept").read_text() == "kept"

        await hive.cli("stop", "scout")

        async def stopped() -> bool:
            agents = {a["name"]: a for a in (await hive.host("status"))["agents"]}
            return agents["scout"]["state"] == "stopped" and agents["scout"]["in_sync"]

        await hive.until("scout is stopped", stopped)
        await hive.cli("reconcile", "--dry-run", "--detailed-exitcode", check=0)
        assert await hive.stop() == 0
