"""README's story with real containers: by the `hive` command, and by the page in a browser."""

from __future__ import annotations

import os
import shutil

import pytest
from support.operators import ByCommand, ByPage, Operator, browsing
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


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_the_story_by_command(tmp_path, runtime):
    async with swarm(tmp_path / "root", "--rehearse", "--runtime", runtime) as hive:
        await the_story(hive, ByCommand(hive))


@pytest.mark.root
@pytest.mark.browser
async def test_the_story_by_page(tmp_path):
    async with (
        swarm(tmp_path / "root", "--rehearse") as hive,
        browsing(hive.link) as page,
    ):
        await the_story(hive, ByPage(page))


async def the_story(hive: Swarm, operator: Operator) -> None:
    await hive.ready("hm1nd")
    await operator.say("hm1nd", "we need a scout")

    spawn = await hive.open_proposal("spawn")
    await operator.approve(spawn["n"])
    scout = await hive.ready("scout")
    await hive.message("system", "hm1nd", kind="spawned")
    await hive.message("hm1nd", "scout")
    await hive.message("scout", "hm1nd")

    state = hive.layout.agent(scout["uid"]) / "state"
    (state / "kept").write_text("kept")
    apply = await hive.open_proposal("apply")
    assert "agent.nix" in await hive.cli("show", str(apply["n"]))
    await operator.deny(apply["n"], "too much memory for a scout")
    denied = await hive.message("system", "hm1nd", "too much memory", kind="approval_resolved")
    again = await hive.open_proposal("apply")
    assert again["n"] > apply["n"]
    await operator.approve(again["n"])
    await hive.message("system", "hm1nd", kind="approval_resolved", after=denied["id"])

    question = await hive.question()
    assert question["options"]
    await operator.choose(question["id"], 1)
    answer = await hive.message("system", "hm1nd", kind="operator_answered")
    assert question["options"][0] in str(answer["data"])

    await hive.message("hm1nd", "scout", after=answer["id"])

    async def sessions() -> list[str] | None:
        events = await hive.broker("events", uid=scout["uid"], kinds=["turn.ended"], limit=50)
        found = [e["data"]["session"] for e in events["events"]]
        return found if len(found) > 1 else None

    assert len(set(await hive.until("scout's second turn", sessions))) == 1
    updated = await hive.ready("scout")
    assert updated["uid"] == scout["uid"]
    assert updated["in_sync"]
    assert updated["revision"] != scout["revision"]
    assert (state / "kept").read_text() == "kept"

    await hive.cli("stop", "scout")

    async def stopped() -> bool:
        agents = {a["name"]: a for a in (await hive.host("status"))["agents"]}
        return agents["scout"]["desired"] == "stopped" and agents["scout"]["in_sync"]

    await hive.until("scout is stopped", stopped)
    await hive.cli("reconcile", "--dry-run", "--detailed-exitcode", check=0)
    assert await hive.stop() == 0
