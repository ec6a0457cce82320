from __future__ import annotations

import gzip
import re
from importlib import resources

from support.dashboard_world import World


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
        strange = re.findall(rb"https?://[a-z0-9.]+", data.replace(b"http://www.w3.org/", b""))
        assert strange == [], name
