"""Some turns of the real CLI under faults and kills; bench/soak.py does it for hundreds."""

from __future__ import annotations

import pytest
from support.claude_cli import claude_cli
from support.fake_messages_api import FakeApi
from support.soak import Model, Soak
from support.swarm import swarm

pytestmark = [pytest.mark.root, pytest.mark.cli, pytest.mark.slow, pytest.mark.timeout(300)]


async def test_every_message_is_one_turn_and_every_token_is_counted(tmp_path):
    model = Model(seed=1, faults=0.1)
    async with FakeApi(model) as api:
        environment = {
            "HIVE_CLAUDE": str(claude_cli()),
            "ANTHROPIC_BASE_URL": await api.serve_tcp(),
            "ANTHROPIC_API_KEY": "sk-ant-dummy",
        }
        async with swarm(tmp_path / "root", "--runtime", "nspawn", env=environment) as hive:
            soak = Soak(hive, api, model, seed=1, jobs=20, every=3, agents=2)
            found = await soak.run(timeout=200)
    assert found.wrong == [], found
    assert sum(found.kills.values()) >= 2, found
