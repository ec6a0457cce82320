"""The queue and its history are refs: every database may be deleted."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from support.swarm import Swarm, swarm

pytestmark = pytest.mark.slow

KEPT = {"hive.git", "inbox.git", "keys", "agents"}


async def proposals(hive: Swarm) -> list[dict]:
    return await hive.json("proposals", "--all")


@pytest.mark.timeout(180)
async def test_every_database_is_deleted_and_the_proposals_are_the_same(tmp_path: Path) -> None:
    async with swarm(tmp_path, "--rehearse") as hive:
        await hive.ready("hm1nd")
        for name in ("scout", "cook", "nurse", "clerk"):
            await hive.cli("spawn", name, "--description", f"the {name} of all")
        digest = (await hive.json("show", "1"))["effect"]["digest"]
        await hive.cli("approve", "1", "--expect", digest)
        await hive.cli("deny", "2", "--reason", "no cooks")
        await hive.cli("withdraw", "3")
        await hive.cli("spawn", "big", "--set", "limits.memory=64G", check=None)
        await hive.ready("scout")
        await hive.cli("restart", "scout")
        await hive.open_proposal("apply")  # what the rehearsed manager asks for next

        async def settled() -> bool:
            return all(p["deployed"] for p in await proposals(hive) if p["state"] == "merged")

        await hive.until("all merges are deployed", settled)
        before = await proposals(hive)
        shown = {p["n"]: await hive.json("show", str(p["n"])) for p in before}
        assert await hive.stop() == 0

        databases = [path for path in tmp_path.iterdir() if path.name not in KEPT]
        assert {"broker", "dashboard", "reconciler"} <= {path.name for path in databases}
        for path in databases:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        await hive.start()
        await hive.ready("scout")
        assert await proposals(hive) == before
        found = Counter(p["state"] for p in before)
        assert found == {"merged": 2, "open": 2, "denied": 1, "withdrawn": 1, "rejected": 1}
        for n, old in shown.items():
            now = await hive.json("show", str(n))
            del now["plan"], old["plan"]  # of here and now
            assert now == old
