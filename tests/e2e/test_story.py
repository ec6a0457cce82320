"""README's story with real containers: by the `hive` command, and by the page in a browser."""

from __future__ import annotations

import os
import shutil

import pytest
from support.operators import ByPage, browsing
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
