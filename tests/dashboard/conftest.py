"""A dashboard of its own for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest
from support.dashboard_world import World, lonely

from hive_wire.paths import Layout


@pytest.fixture
def layout() -> Iterator[Layout]:
    root = tempfile.mkdtemp(prefix="hd-")
    found = Layout.of(root)
    found.make_run()
    yield found
    shutil.rmtree(root)
    shutil.rmtree(found.run, ignore_errors=True)


@pytest.fixture
async def world(layout: Layout) -> AsyncIterator[World]:
    async with lonely(layout) as world, world.host, world.broker:
        await world.settled()
        yield world


@pytest.fixture
async def page_world(world: World) -> World:
    """Logged in."""
    await world.login()
    return world
