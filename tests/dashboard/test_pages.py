from __future__ import annotations

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
