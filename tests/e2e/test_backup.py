"""A backup of a living swarm, restored on a root of its own: it goes on where it was."""

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
SHOWN = ("n", "kind", "agent", "requester", "description", "commit", "base", "state", "reason")


async def proposals(hive: Swarm) -> list[dict]:
    found = (await hive.host("proposals", limit=100))["proposals"]
    return [{key: one[key] for key in SHOWN} for one in found]


async def flow(hive: Swarm) -> list[tuple]:
    messages = (await hive.broker("messages", after=0, limit=500))["messages"]
    return [(m["id"], m["sender"], m["to"], m["kind"], m["body"]) for m in messages]


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_restored_swarm_goes_on(tmp_path, runtime):
    options = ("--rehearse", "--runtime", runtime)
    saved = tmp_path / "saved"
    async with swarm(tmp_path / "old", *options) as hive:
        await hive.ready("hm1nd")
        await hive.cli("send", "hm1nd", "we need a scout")
        spawn = await hive.open_proposal("spawn")
        await hive.host("approve", n=spawn["n"], effect=spawn["effect"]["digest"])
        scout = await hive.ready("scout")
        await hive.open_proposal("apply")
        (hive.layout.agent(scout["uid"]) / "state" / "kept").write_text("kept")
        (hive.layout.rehearsal / "mole.toml").write_text("[[rule]]")
        (hive.layout.root / "gateway.toml").write_text('url = "http://127.0.0.1:9"')
        await hive.cli("pause", "scout", "--reason", "a backup is made")
        await hive.cli("send", "scout", "pending before")
        said = await hive.cli("backup", str(saved))
        assert "hm1nd, scout" in said
        assert await hive.cli("backup", str(saved), check=1)  # it is not overwritten
        before = (await proposals(hive), await flow(hive))
        await hive.cli("send", "hm1nd", "said after the backup")
    assert (saved / "manifest.json").stat().st_mode & 0o777 <= 0o644
    assert saved.stat().st_mode & 0o777 == 0o700

    again = tmp_path / "again"  # of a swarm that is down
    assert "hm1nd, scout" in await hive.cli("backup", str(again))
    assert (again / "broker.db").stat().st_size > 0
    (again / "hive.bundle").write_bytes((again / "hive.bundle").read_bytes()[:-100])
    broken = Swarm(tmp_path / "broken")
    assert "git fetch" in await broken.cli("restore", str(again), check=1)

    hive = Swarm(tmp_path / "new", "--runtime", runtime)
    assert "merges proven" in await hive.cli("restore", str(saved))
    assert "already" in await hive.cli("restore", str(saved), check=1)
    assert "0 wrong" in await hive.cli("verify")
    try:
        await hive.start()
        assert (await hive.ready("scout"))["uid"] == scout["uid"]
        now = await flow(hive)
        assert now[: len(before[1])] == before[1]
        assert "said after the backup" not in str(now)
        old = {p["n"]: p for p in before[0]}
        assert {p["n"]: p for p in await proposals(hive)} == old
        assert (hive.layout.agent(scout["uid"]) / "state" / "kept").read_text() == "kept"
        assert (hive.layout.rehearsal / "mole.toml").read_text() == "[[rule]]"
        assert "127.0.0.1" in (hive.layout.root / "gateway.toml").read_text()

        async def waiting() -> bool:
            found = (await hive.broker("agents"))["agents"]
            return next(a["queued"] for a in found if a["name"] == "scout") == 1

        await hive.until("the message waits", waiting)
        await hive.cli("unpause", "scout")

        async def delivered() -> bool:
            found = (await hive.broker("agents"))["agents"]
            return next(a["queued"] for a in found if a["name"] == "scout") == 0

        await hive.until("the message is delivered", delivered)
        assert "0 wrong" in await hive.cli("verify")
    finally:
        await hive.kill()


async def test_a_backup_that_is_not_whole_is_no_backup(tmp_path):
    hive = Swarm(tmp_path / "root")
    (tmp_path / "empty").mkdir()
    assert "no whole backup" in await hive.cli("restore", str(tmp_path / "empty"), check=1)
    assert not (tmp_path / "root").exists()
    assert "no swarm" in await hive.cli("backup", str(tmp_path / "x"), check=1)
