"""What a reader does with the log of an agent, in a real browser."""

from __future__ import annotations

import asyncio

from playwright.async_api import Page, expect
from support.browsing import NEEDED, Browser, browsing
from support.dashboard_world import World

pytestmark = NEEDED


async def look_away(page: Page, hidden: bool) -> None:
    """As when another tab is in front, which a browser without a screen does not tell."""
    await page.evaluate(
        """hidden => {
      Object.defineProperty(document, "hidden", {get: () => hidden, configurable: true});
      document.dispatchEvent(new Event("visibilitychange"));
    }""",
        hidden,
    )


async def log_of(b: Browser) -> Page:
    page = await b.tab("/a/scout/")
    await expect(page.locator("#live")).to_contain_text("L1VE")
    return page


async def test_times_are_of_the_readers_zone_or_utc(world: World) -> None:
    world.broker.emit("text", {"text": "before"})
    async with browsing(world) as b:
        page = b.watch(await b.context.new_page())
        cdp = await b.context.new_cdp_session(page)
        await cdp.send("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
        await page.goto(f"{world.url}/a/scout/")
        await expect(page.locator("#live")).to_contain_text("L1VE")
        last = world.broker.emit("text", {"text": "after"})
        new = page.locator(f'[data-id="{last}"] time')
        shown = """(time, zone) => time.textContent === new Date(time.dataset.at * 1000)
          .toLocaleTimeString("en-GB", {timeZone: zone, hourCycle: "h23"})"""
        for time in (page.locator("#tail time").first, new):
            assert await time.evaluate(shown, "Asia/Kolkata")
        await page.click("#zone")
        await expect(page.locator("#zone")).to_have_text("UTC")
        last = world.broker.emit("text", {"text": "after that"})
        await expect(page.locator(f'[data-id="{last}"]')).to_have_count(1)
        for i in range(await page.locator("#tail time").count()):
            assert await page.locator("#tail time").nth(i).evaluate(shown, "UTC")
        await page.reload()
        await expect(page.locator("#zone")).to_have_text("UTC")
        assert await new.evaluate(shown, "UTC")


async def test_older_rows_come_when_one_scrolls_to_them(world: World) -> None:
    last = world.broker.emit_many([("text", {"text": f"old {i}"}) for i in range(650)])
    async with browsing(world) as b:
        page = await log_of(b)
        await page.locator("#tail").hover()
        async with asyncio.timeout(60):
            while await page.locator('#tail [data-id="1"]').count() == 0:
                await page.mouse.wheel(0, -2000)
                await page.evaluate("new Promise(requestAnimationFrame)")
        ids = await page.evaluate(
            "[...document.querySelectorAll('#tail [data-id]')].map(e => Number(e.dataset.id))"
        )
        assert ids == list(range(1, last + 1))
        assert b.troubles == []


async def test_older_rows_that_cannot_be_had_now_can_be_later(world: World) -> None:
    world.broker.emit_many([("text", {"text": f"row {i}"}) for i in range(500)])
    async with browsing(world) as b:
        page = await b.tab("/a/scout/")
        await expect(page.locator("#live")).to_contain_text("L1VE")
        await world.broker.stop()
        await expect(page.locator("#sec-away")).to_contain_text("the broker is away")
        await page.locator("#tail").hover()
        await page.mouse.wheel(0, -100_000)
        await expect(page.locator("#notices")).to_contain_text("Older rows cannot be had now")
        await world.broker.start()
        await expect(page.locator("#sec-away")).not_to_contain_text("away")
        await page.mouse.wheel(0, 300)
        await page.mouse.wheel(0, -100_000)
        await expect(page.locator('#tail [data-id="300"]')).to_have_count(1)


async def test_what_came_too_fast_is_said_and_can_be_loaded(world: World) -> None:
    async with browsing(world) as b:
        page = await log_of(b)
        await look_away(page, True)  # it draws two times a second
        last = world.broker.emit_many([("text", {"text": f"fast {i}"}) for i in range(3900)])
        gap = page.locator("#gap")
        await expect(gap).to_contain_text("rows came faster than they can be shown")
        await expect(page.locator(f'[data-id="{last}"]')).to_be_visible()
        await look_away(page, False)
        ids = "[...document.querySelectorAll('#tail [data-id]')].map(e => Number(e.dataset.id))"
        shown = await page.evaluate(ids)
        assert shown == list(range(shown[0], last + 1)), "what is shown has no hole"
        words = " rows came faster than they can be shown; scroll up to load them"
        skipped, _, rest = (await gap.inner_text()).partition(words)
        assert rest == ""
        assert 0 < int(skipped) < shown[0], "the rows between were drawn, and made room for newer"
        await page.locator("#tail").hover()
        async with asyncio.timeout(60):
            while await page.locator(f'#tail [data-id="{shown[0] - 1}"]').count() == 0:
                await page.mouse.wheel(0, -4000)
                await page.evaluate("new Promise(requestAnimationFrame)")
        found = await page.evaluate(ids)
        assert found == list(range(found[0], last + 1))
        assert b.troubles == []


async def test_the_tool_that_runs_has_a_clock(world: World) -> None:
    async with browsing(world) as b:
        page = await log_of(b)
        world.broker.emit("tool_use", {"id": "1", "name": "Bash", "input": {"command": "make"}})
        await expect(page.locator("#tail .use .run")).to_be_visible()
        await expect(page.locator("#tail .run")).to_have_attribute("aria-hidden", "true")
        await expect(page.locator("#tail .use")).to_contain_text("Bash make 0:0")
        world.broker.emit("tool_result", {"id": "1", "ok": True, "text": "made"})
        await expect(page.locator("#tail .run")).to_have_count(0)


async def test_the_log_says_what_one_missed(world: World) -> None:
    async with browsing(world) as b:
        page = await log_of(b)
        world.broker.emit("text", {"text": "seen"})
        await expect(page.locator("#tail")).to_contain_text("seen")
        await look_away(page, True)
        first = world.broker.emit("tool_use", {"id": "1", "name": "Bash", "input": {}})
        world.broker.emit("stderr", {"text": "it broke"})
        await expect(page.locator("#tail")).to_contain_text("it broke")
        await look_away(page, False)
        mark = page.locator("#tail .seen")
        await expect(mark).to_contain_text("1 tool, no messages, 1 error")
        assert await mark.evaluate("e => e.nextElementSibling.dataset.id") == str(first)
        assert b.troubles == []


async def test_how_one_likes_the_log_is_kept(world: World) -> None:
    world.broker.emit("stderr", {"text": "words " * 200})
    async with browsing(world) as b:
        page = await log_of(b)
        time = page.locator("#tail .tm").first
        await expect(time).to_be_visible()
        high = await page.locator("#tail .e").first.evaluate("e => e.offsetHeight")
        await page.click("button[data-toggle=times]")
        await page.click("button[data-toggle=wrap]")
        await expect(time).to_be_hidden()
        await page.reload()
        await expect(time).to_be_hidden()
        assert await page.locator("#tail .e").first.evaluate("e => e.offsetHeight") < high


async def test_a_row_is_copied_and_agents_are_switched(world: World) -> None:
    world.broker.emit("text", {"text": "to be copied"})
    async with browsing(world) as b:
        await b.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = await log_of(b)
        await page.locator("#tail .e").first.hover()
        await page.click("button.copy")
        await expect(page.locator("button.copy")).to_have_text("copied")
        assert await page.evaluate("navigator.clipboard.readText()") == "to be copied"
        names = await page.locator(".side a .grow").all_inner_texts()
        other = next(i for i, name in enumerate(names, 1) if "scout" not in name)
        await page.keyboard.press(f"Alt+{other}")
        await page.wait_for_url(f"{world.url}/a/{names[other - 1].split()[0]}/")
