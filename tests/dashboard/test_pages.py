from __future__ import annotations

import asyncio
import gzip
import re
from importlib import resources

import pytest
from support.dashboard_world import World, lonely

from hive_dashboard.live import mirror
from hive_wire.paths import Layout


async def test_the_swarm_page_shows_what_there_is(page_world: World) -> None:
    world = page_world
    world.host.add(7)
    world.broker.message("hm1nd", "scout", "hello scout")
    await world.until(
        lambda: (
            bool(world.site.mirror.snapshot.details) and bool(world.site.mirror.snapshot.messages)
        )
    )
    text = await world.get("/")
    for words in ("hm1nd", "reads the news", "#7 give scout more memory", "hello scout"):
        assert words in text


def test_scripts_are_small_and_everything_is_from_here() -> None:
    folder = resources.files("hive_dashboard") / "static"
    files = {item.name: item.read_bytes() for item in folder.iterdir()}
    scripts = b"".join(data for name, data in sorted(files.items()) if name.endswith(".js"))
    assert len(gzip.compress(scripts, 9)) <= 25 << 10
    for name, data in files.items():
        if name.endswith("OFL.txt"):
            continue  # the font's licence
        strange = re.findall(rb"https?://[a-z0-9.]+", data.replace(b"http://www.w3.org/", b""))
        assert strange == [], name


async def test_what_was_not_read_yet_is_not_said_to_be_missing(layout: Layout) -> None:
    """A page that was open before a restart comes back to a dashboard that knows nothing yet."""
    async with lonely(layout) as world:
        await world.login()
        world.site.mirror._begun.set()  # as when the first words do not come
        for path in ("/a/scout/", "/api/agent/scout", "/api/v1/agents/scout"):
            async with world.http.get(world.url + path) as answer:
                assert answer.status == 503, path
                assert "away" in await answer.text()
                assert answer.headers.get("Refresh") == (None if "api" in path else "3")


async def test_pages_wait_for_the_first_words(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "SETTLE", 40)
    async with lonely(layout) as world:
        logged_in = asyncio.create_task(world.login())  # it leads to the swarm's page
        async with world.host, world.broker:
            await logged_in
            assert "reads the news" in await world.get("/a/scout/")
