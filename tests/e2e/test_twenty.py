"""Many real containers under kill -9 and commits: converged, nothing doubled, no turn cut."""

from __future__ import annotations

import pytest
from support.swarm import swarm
from support.twenty import Drill

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]


async def test_twenty_agents_survive_commits_and_kills(tmp_path):
    async with swarm(tmp_path / "root", "--rehearse", "--runtime", "nspawn") as hive:
        found = await Drill(hive, seed=7, commits=12).run()
    assert found.wrong == [], str(found)
    assert sum(found.kills.values()) >= 3
