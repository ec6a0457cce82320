"""A dashboard of its own for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from support.dashboard_world import World
from support.fake_backends import FakeBroker, FakeHost

from hive_dashboard.service import serving
from hive_dashboard.settings import Settings
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
    host, broker = FakeHost(layout), FakeBroker(layout)
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address
    async with (
        host,
        broker,
        serving(Settings(layout, port=0)) as site,
        aiohttp.ClientSession(cookie_jar=jar) as http,
    ):
        world = World(site, host, broker, layout, http)
        await world.settled()
        yield world


@pytest.fixture
async def page_world(world: World) -> World:
    """Logged in."""
    await world.login()
    return world
