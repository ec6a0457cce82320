"""An open page while processes die, sleep and come back: no gap, no duplicate, no lie."""

from __future__ import annotations

import itertools
import re
import signal

import pytest
from playwright.async_api import Page, Route, expect
from support.browsing import NEEDED, Browser, browsing
from support.dashboard_apart import apart
from support.dashboard_world import World

from hive_dashboard.live import hub as hubs
from hive_wire.paths import Layout

pytestmark = [*NEEDED, pytest.mark.slow]


async def log_of(b: Browser) -> Page:
    page = await b.tab("/a/scout/")
    await expect(page.locator("#live")).to_contain_text("L1VE")
    return page


async def ids(page: Page) -> list[int]:
    return await page.evaluate(
        "[...document.querySelectorAll('#tail [data-id]')].map(e => Number(e.dataset.id))"
    )


async def test_a_killed_dashboard_comes_back_without_gap_or_duplicate(layout: Layout) -> None:
    async with apart(layout) as world, browsing(world) as b:  # type: ignore[arg-type]
        page = await log_of(b)
        await page.fill("#p", "half a sentence")
        first = world.broker.emit("text", {"text": "before"})
        await expect(page.locator(f'[data-id="{first}"]')).to_be_visible()
        await world.kill()
        world.broker.emit_many([("text", {"text": f"meanwhile {i}"}) for i in range(30)])
        await world.start()
        last = world.broker.emit("text", {"text": "after"})
        await expect(page.locator(f'[data-id="{last}"]')).to_be_visible()
        assert await ids(page) == list(range(1, last + 1))
        await expect(page.locator("#live")).to_contain_text("L1VE")
        assert await page.input_value("#p") == "half a sentence"
        await page.press("#p", "Enter")
        await expect(page.locator("#tail")).to_contain_text("half a sentence")


async def test_a_killed_broker_comes_back_without_gap_or_duplicate(layout: Layout) -> None:
    async with apart(layout) as world, browsing(world) as b:  # type: ignore[arg-type]
        page = await log_of(b)
        world.broker.emit("text", {"text": "before"})
        await world.broker.stop()
        await expect(page.locator("#sec-away")).to_contain_text("the broker is away")
        world.broker.emit_many([("text", {"text": f"meanwhile {i}"}) for i in range(30)])
        await world.broker.start()
        await expect(page.locator("#sec-away")).not_to_contain_text("away")
        last = world.broker.emit("text", {"text": "after"})
        await expect(page.locator(f'[data-id="{last}"]')).to_be_visible()
        assert await ids(page) == list(range(1, last + 1))


async def test_after_a_sleep_the_page_goes_on_where_it_was(layout: Layout) -> None:
    """SIGSTOP is what a sleeping laptop looks like: everything is open, nothing comes."""
    async with apart(layout) as world, browsing(world) as b:  # type: ignore[arg-type]
        page = await log_of(b)
        first = world.broker.emit("text", {"text": "before"})
        await expect(page.locator(f'[data-id="{first}"]')).to_be_visible()
        world.signal(signal.SIGSTOP)
        world.broker.emit_many([("text", {"text": f"meanwhile {i}"}) for i in range(30)])
        stale = re.compile("ST4LE")
        await expect(page.locator("#live")).to_contain_text(stale, timeout=40_000)
        world.signal(signal.SIGCONT)
        await expect(page.locator("#live")).to_contain_text("L1VE", timeout=30_000)
        last = world.broker.emit("text", {"text": "after"})
        await expect(page.locator(f'[data-id="{last}"]')).to_be_visible()
        assert await ids(page) == list(range(1, last + 1))


async def test_a_bad_gateway_is_asked_again(world: World) -> None:
    """A browser's own EventSource gives up for ever after one such answer."""
    async with browsing(world) as b:
        await expect(b.page.locator("#live")).to_contain_text("L1VE")
        refused: list[str] = []

        async def refuse(route: Route) -> None:
            refused.append(route.request.url)
            await route.fulfill(status=502)

        await b.context.route("**/events?*", refuse, times=2)
        page = await b.tab("/a/scout/")  # its rows make the stream open anew
        world.broker.emit_many([("text", {"text": f"meanwhile {i}"}) for i in range(30)])
        await b.page.wait_for_function(
            "document.getElementById('live').textContent.includes('L1VE')"
        )
        last = world.broker.emit("text", {"text": "after"})
        await expect(page.locator(f'[data-id="{last}"]')).to_be_visible()
        assert await ids(page) == list(range(1, last + 1))
        assert len(refused) == 2


async def test_a_page_that_gets_no_news_says_so(world: World) -> None:
    hub = world.site.hub
    taken = [hub.join("s", "damo", frozenset()) for _ in range(hubs.MAX_CLIENTS)]
    async with browsing(world) as b:
        said = b.page.locator("#notices")
        await expect(said).to_contain_text(f"{hubs.MAX_CLIENTS} are open already")
        await expect(b.page.locator("#live")).to_contain_text("C0NNECTING")
        hub.leave(taken[0])
        await expect(b.page.locator("#live")).to_contain_text("L1VE", timeout=20_000)
        await expect(said).not_to_contain_text("are open already")
    for client in taken:
        hub.leave(client)


async def test_a_tab_that_opens_while_rows_come_has_no_hole(world: World) -> None:
    """Another tab reads the stream, and is farther by then than the page that was loaded."""
    world.broker.emit("text", {"text": "first"})
    async with browsing(world) as b:
        leader = b.page.locator("#live")
        await expect(leader).to_contain_text("L1VE")

        async def late(route: Route) -> None:
            world.broker.emit_many([("text", {"text": f"meanwhile {i}"}) for i in range(5)])
            told = world.broker.emit("state", {"state": "idle"})
            await expect(leader).to_contain_text(f"id {told} ·")
            await route.continue_()

        await b.context.route("**/agent.js", late)
        page = await log_of(b)
        last = world.broker.emit("text", {"text": "after"})
        await expect(page.locator(f'[data-id="{last}"]')).to_be_visible()
        assert await ids(page) == list(range(1, last + 1))


async def test_all_tabs_begin_anew_with_another_store(world: World) -> None:
    world.broker.emit_many([("text", {"text": "x"})] * 9)
    async with browsing(world) as b:
        tabs = [b.page, await b.tab("/")]
        world.broker.message("hm1nd", "scout", "before")
        for page in tabs:
            await expect(page.locator("#live")).to_contain_text("id 10 ·")
        await world.broker.stop()
        world.broker.events, world.broker._ids = [], itertools.count(1)
        await world.broker.start()
        await world.until(lambda: [c.last for c in world.site.hub._clients] == [0])
        world.broker.message("hm1nd", "scout", "after")
        for page in tabs:
            await expect(page.locator("#live")).to_contain_text("id 1 ·")


async def test_a_log_that_could_not_be_read_comes_with_the_broker(world: World) -> None:
    world.broker.emit("text", {"text": "what was said before"})
    await world.until(lambda: world.site.hub.last == 1)
    await world.broker.stop()
    await world.until(lambda: "broker" in world.site.mirror.snapshot.away)
    async with browsing(world) as b:
        page = await b.tab("/a/scout/")
        await expect(page.locator("#tail")).to_contain_text("no history to show")
        await page.fill("#p", "half a sentence")
        await world.broker.start()
        await expect(page.locator("#tail")).to_contain_text("what was said before")
        assert await page.input_value("#p") == "half a sentence"
