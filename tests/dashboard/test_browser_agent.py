"""An agent's page in a real browser; many tabs."""

from __future__ import annotations

import asyncio

from playwright.async_api import expect
from support.browsing import NEEDED, browsing
from support.dashboard_world import World

pytestmark = NEEDED


async def test_the_log_of_an_agent_follows(world: World) -> None:
    world.broker.emit_many([("text", {"text": f"old {i}"}) for i in range(300)])
    async with browsing(world) as b:
        page = await b.tab("/a/scout/")
        log = page.locator("#tail")
        await expect(log).to_contain_text("old 299")
        await expect(log.locator("[data-id]")).to_have_count(200)
        await expect(page.locator("#live")).to_contain_text("L1VE")
        last = world.broker.emit_many([("text", {"text": f"new {i}"}) for i in range(3000)])
        await expect(log.locator(f'[data-id="{last}"]')).to_be_in_viewport(timeout=20_000)
        assert await log.locator("[data-id]").count() <= 1600
        # Going up stops following; nothing moves; the pill counts.
        await log.hover()
        await page.mouse.wheel(0, -400)
        await page.wait_for_function("document.getElementById('tail').scrollTop > 0")
        await asyncio.sleep(0.6)  # the end of smooth scrolling and of sealing
        before = await page.evaluate("document.getElementById('tail').scrollTop")
        world.broker.emit_many([("text", {"text": f"later {i}"}) for i in range(40)])
        await expect(page.locator("#pill")).to_have_text("↓ 40 new")
        assert abs(await page.evaluate("document.getElementById('tail').scrollTop") - before) <= 1
        await page.click("#pill")
        await expect(page.locator("#pill")).to_be_hidden()
        await expect(log.locator("[data-id]").last).to_be_in_viewport()
        assert b.troubles == []


async def test_the_agents_prompt_and_commands(world: World) -> None:
    world.broker.state("scout", "thinking", "works")
    async with browsing(world) as b:
        page = await b.tab("/a/scout/")
        await page.fill("#p", "look at this")
        await page.press("#p", "Enter")
        await expect(page.locator("#tail")).to_contain_text("look at this")
        await page.fill("#p", "/compact")
        await page.press("#p", "Enter")
        await expect(page.locator("#notices")).to_contain_text("/compact done")
        assert len(world.broker.called("send")) == 1
        await page.fill("#p", "/nonsense")
        await page.press("#p", "Enter")
        await expect(page.locator("#notices")).to_contain_text("There is no command /nonsense")
        await page.fill("#p", "")
        await page.type("#p", "/co")
        await expect(page.locator("#slash [role=option]")).to_have_count(1)
        await page.press("#p", "Enter")
        assert await page.input_value("#p") == "/compact", "the first Enter only takes the offer"
        await page.fill("#p", "")
        await page.press("#p", "ArrowUp")
        assert await page.input_value("#p") == "look at this"
        await page.click("#cancel")
        await expect(page.locator("#notices")).to_contain_text("/cancel done")
        await page.click("button[data-filter=messages]")
        await expect(page.locator('#tail [data-k="messages"]').first).to_be_hidden()


async def test_filters_are_part_of_the_address(world: World) -> None:
    world.broker.emit_many([("text", {"text": "said"}), ("thinking", {"text": "thought"})])
    async with browsing(world) as b:
        page = await b.tab("/a/scout/?q=")
        rows = {
            kind: page.locator(f'#tail [data-k="{kind}"]').first for kind in ("text", "thinking")
        }
        await page.click("button[data-filter=thinking]")
        await expect(rows["thinking"]).to_be_hidden()
        await page.click("button[data-filter=text]")
        await expect(rows["text"]).to_be_hidden()
        shared = page.url
        await page.go_back()
        await expect(rows["text"]).to_be_visible()
        await expect(rows["thinking"]).to_be_hidden()
        await page.go_back()
        await expect(rows["thinking"]).to_be_visible()
        assert page.url == f"{world.url}/a/scout/?q=", (
            "the address that one came by is left as it was"
        )
        await page.evaluate("localStorage.clear()")
        await page.goto(shared)
        await expect(rows["text"]).to_be_hidden()
        await expect(rows["thinking"]).to_be_hidden()
        pressed = page.locator("button[data-filter=text]")
        await expect(pressed).to_have_attribute("aria-pressed", "false")
        await page.goto(f"{world.url}/a/scout/?hide=text,%22%5D*%7Bdisplay:none%7D")
        await expect(rows["text"]).to_be_hidden()
        await expect(rows["thinking"]).to_be_visible()
        assert b.troubles == []


async def test_twelve_tabs_share_one_stream(world: World) -> None:
    async with browsing(world) as b:
        tabs = [await b.tab("/a/scout/" if i % 3 == 0 else "/") for i in range(11)]
        for page in tabs:
            await expect(page.locator("#live")).to_contain_text("L1VE")
        await world.until(lambda: world.site.hub.clients == 1)
        last = world.broker.emit("text", {"text": "to every tab"})
        for page in tabs[::3]:
            await expect(page.locator(f'[data-id="{last}"]')).to_have_count(1)
        await b.page.close()  # the leader: another takes over
        last = world.broker.emit("text", {"text": "after the leader"})
        for page in tabs[::3]:
            await expect(page.locator(f'[data-id="{last}"]')).to_have_count(1)
        ids = await tabs[0].evaluate(
            "[...document.querySelectorAll('[data-id]')].map(e => e.dataset.id)"
        )
        assert len(ids) == len(set(ids))


async def test_a_burst_is_drawn_within_bounds(world: World) -> None:
    """10,000 events as fast as they come: the newest are there, in order, the rest is said."""
    async with browsing(world) as b:
        page = await b.tab("/a/scout/")
        await expect(page.locator("#live")).to_contain_text("L1VE")
        await page.evaluate(
            "window.long = []; new PerformanceObserver(l => window.long.push("
            "...l.getEntries().map(e => e.duration))).observe({type: 'longtask'})"
        )
        last = 0
        for i in range(100):
            rows = [("text", {"text": f"line {i} {n}\nsecond"}) for n in range(100)]
            last = world.broker.emit_many(rows)
            await asyncio.sleep(0)
        await expect(page.locator(f'[data-id="{last}"]')).to_be_in_viewport(timeout=30_000)
        ids = await page.evaluate(
            "[...document.querySelectorAll('#tail [data-id]')].map(e => Number(e.dataset.id))"
        )
        assert len(ids) <= 1500
        assert ids == sorted(set(ids))
        assert ids == list(range(ids[0], last + 1)), "what is shown has no hole"
        print("long tasks:", [round(t) for t in await page.evaluate("window.long")])


async def test_nothing_moves_and_nothing_grows_while_one_reads(world: World) -> None:
    """500 events a second for 20 seconds: the row under the reader stays, the page stays bounded."""
    world.broker.emit_many([("text", {"text": f"old {i}\nsecond"}) for i in range(300)])
    async with browsing(world) as b:
        page = await b.tab("/a/scout/")
        await expect(page.locator("#live")).to_contain_text("L1VE")
        await page.locator("#tail").hover()
        await page.mouse.wheel(0, -600)
        await page.evaluate(  # the end of smooth scrolling and of sealing
            """async () => {
          const log = document.getElementById("tail");
          let top = -1, same = 0;
          while (same < 10) {
            await new Promise((done) => setTimeout(done, 100));
            same = log.scrollTop === top && log.scrollTop > 0 ? same + 1 : 0;
            top = log.scrollTop;
          }
        }"""
        )
        await page.evaluate(
            """() => {
          const log = document.getElementById("tail"), top = log.getBoundingClientRect().top + 20;
          const row = document.elementFromPoint(log.clientWidth / 2 + 300, top).closest("[data-id]");
          const at = () => row.getBoundingClientRect().top, start = at();
          window.drift = 0;
          window.moves = [];
          setInterval(() => {
            const d = Math.abs(at() - start);
            if (d > window.drift) { window.drift = d; window.moves.push([d, log.scrollTop, log.scrollHeight]); }
          }, 16);
        }"""
        )
        last = 0
        for i in range(200):
            rows = [("text", {"text": f"line {i} {n}\nsecond"}) for n in range(50)]
            last = world.broker.emit_many(rows)
            await asyncio.sleep(0.1)
        await expect(page.locator("#pill")).to_have_text("↓ 10000 new", timeout=20_000)
        assert await page.evaluate("window.drift") <= 1, await page.evaluate("window.moves")
        count = "document.querySelectorAll('#tail [data-id]').length"
        assert await page.evaluate(count) <= 1700, "1,500 and the chunk and frame in the making"
        await page.click("#pill")
        await expect(page.locator(f'[data-id="{last}"]')).to_be_in_viewport(timeout=20_000)
        assert await page.evaluate(count) <= 1500
        shown = await page.evaluate(
            "[...document.querySelectorAll('#tail [data-id]')].map(e => Number(e.dataset.id))"
        )
        assert shown == list(range(shown[0], last + 1)), "what is shown has no hole"
        assert b.troubles == []
