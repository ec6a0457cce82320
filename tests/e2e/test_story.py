"""README's story with real containers: by the `hive` command, and by the page in a browser."""

from __future__ import annotations

import os
import shutil

import pytest
from support.claude_cli import claude_cli
from support.fake_messages_api import FakeApi
from support.operators import ByPage, browsing
from support.scripted_model import ScriptedModel
from support.story import ByCommand, the_story
from support.swarm import swarm

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
        assert await hive.stop() == 0


@pytest.mark.root
@pytest.mark.browser
async def test_the_story_by_page(tmp_path):
    async with (
        swarm(tmp_path / "root", "--rehearse") as hive,
        browsing(hive.link) as page,
    ):
        await the_story(hive, ByPage(page))
        assert await hive.stop() == 0


@pytest.mark.root
@pytest.mark.cli
async def test_the_story_with_the_real_cli(tmp_path):
    """The same scripts, played by a model behind the gateway with the CLI's own tools."""
    async with FakeApi(ScriptedModel()) as api:
        environment = {
            "HIVE_CLAUDE": str(claude_cli()),
            "ANTHROPIC_BASE_URL": await api.serve_tcp(),
            "ANTHROPIC_API_KEY": "sk-ant-dummy",
        }
        async with swarm(tmp_path / "root", "--runtime", "nspawn", env=environment) as hive:
            await the_story(hive, ByCommand(hive))
            assert await hive.stop() == 0
        assert {"Bash", "mcp__hive__request_apply_commit"} <= set(api.requests[0].tools)
