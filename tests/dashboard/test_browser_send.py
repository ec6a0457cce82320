"""What is sent is what the page shows, in a real browser: once, to whom it says, and as it says."""

from __future__ import annotations

import asyncio
import re

from playwright.async_api import Route, expect
from support.browsing import NEEDED, browsing
from support.dashboard_world import World
from support.page_rows import agent_status, host_agent

pytestmark = NEEDED


def appears(world: World, name: str) -> None:
    world.host.agents.append(host_agent(name))
    world.broker.states[name] = agent_status(name)
    world.host.changed("agents")
    world.broker.emit("ready", {}, name)


async def test_a_message_goes_to_whom_the_box_names(world: World) -> None:
    """Also when an agent comes or goes while one writes."""
    async with browsing(world) as b:
        page = b.page
        await page.select_option("#to", "scout")
        appears(world, "mallory")
        options = page.locator("#to option")
        await expect(options).to_have_text(["@hm1nd", "@mallory", "@scout", "@everyone"])
        assert await options.evaluate_all("all => all.map((o) => o.value)") == [
            *("hm1nd", "mallory", "scout", "everyone")
        ]
        await page.fill("#f-send textarea", "for scout")
        await page.press("#f-send textarea", "Enter")
        await expect(page.locator("#flow")).to_contain_text("for scout")
        assert world.broker.called("send")[0]["to"] == "scout"
        del world.host.agents[1], world.broker.states["scout"]
        world.host.changed("agents")
        world.broker.emit("offline", {}, "scout")
        await expect(options).to_have_text(["@hm1nd", "@mallory", "@everyone"])
        assert await page.input_value("#to") == "", "nobody else takes its place"


async def test_a_button_does_what_it_says(world: World) -> None:
    async with browsing(world) as b:
        page = await b.tab("/a/scout/")
        await expect(page.locator("#f-power button")).to_have_count(2)
        world.host.agents[1]["desired"] = "stopped"
        world.host.changed("agents")
        await expect(page.locator("#f-power button")).to_have_count(1)
        await page.click("#f-power button")
        await expect(page.locator("#notices")).to_contain_text("takes effect now")
        assert world.host.called("power")[0]["action"] == "start"


async def test_what_was_looked_at_is_looked_at_again_when_it_moved(world: World) -> None:
    world.host.add(7)
    world.host.proposals[7]["diff_left_out"] = 82
    async with browsing(world) as b:
        page = b.page
        looked = page.locator("#f-approve-7 [name=looked]")
        approve = page.locator("#ap7 button.pri.s-ok")
        await looked.check()
        world.host.proposals[7]["row"]["effect"]["digest"] = "cd" * 32
        await approve.click()
        await approve.click()
        await expect(page.locator("#notices")).to_contain_text("3G instead of 2G")
        await expect(page.locator("#ap7 input[name=effect]")).to_have_value("cd" * 32)
        await expect(looked).not_to_be_checked()


async def test_what_is_on_its_way_is_sent_once_and_the_next_words_stay(world: World) -> None:
    async with browsing(world) as b:
        page, go = await b.tab("/a/scout/"), asyncio.Event()

        async def slowly(route: Route) -> None:
            await go.wait()
            await route.continue_()

        await page.route("**/a/scout/prompt", slowly)
        await page.fill("#p", "once")
        await page.press("#p", "Enter")
        await page.press("#p", "Enter")
        await page.fill("#p", "the next words")
        go.set()
        await expect(page.locator("#notices")).to_contain_text("Sent to scout")
        assert await page.input_value("#p") == "the next words"
        await page.reload()
        assert await page.input_value("#p") == "the next words"
        assert [sent["body"] for sent in world.broker.called("send")] == ["once"]


async def test_an_answer_that_was_lost_is_not_called_undone(world: World) -> None:
    """A proxy in between gave up; what was asked for may be done."""
    async with browsing(world) as b:
        page = b.page
        await page.route("**/send", lambda route: route.fulfill(status=504, body="<h1>late</h1>"))
        await page.fill("#f-send textarea", "hello")
        await page.press("#f-send textarea", "Enter")
        await expect(page.locator("#notices")).to_contain_text("may be done all the same")
        assert await page.input_value("#f-send textarea") == "hello"


async def test_the_badge_is_not_green_while_the_page_cannot_be_drawn_anew(world: World) -> None:
    async with browsing(world) as b:
        page = b.page
        await expect(page.locator("#live")).to_contain_text("L1VE")
        await page.route("**/api/swarm*", lambda route: route.fulfill(status=500, body="{}"))
        world.broker.state("scout", "thinking", "reads the papers")
        await expect(page.locator("#live")).to_contain_text("ST4LE")
        await page.unroute("**/api/swarm*")
        await expect(page.locator("#box-scout")).to_contain_text("reads the papers")
        await expect(page.locator("#live")).to_contain_text("L1VE")


async def test_a_yes_wants_two_presses_and_not_one_long_or_double(world: World) -> None:
    """The first press says what was not looked at, and somebody has to read that."""
    world.host.add(7)
    async with browsing(world) as b:
        page = b.page
        approve, form = page.locator("#ap7 button.pri.s-ok"), page.locator("#f-approve-7")
        await expect(approve).to_be_visible()
        for key in ("a", "Enter"):
            for _ in range(4):
                await page.keyboard.down(key)
            await page.keyboard.up(key)
            await expect(form).to_have_attribute("data-x-sure", re.compile("press again"))
            assert world.host.called("approve") == []
            await page.reload()
            await approve.focus()
        await approve.dblclick()
        await expect(form).to_have_attribute("data-x-sure", re.compile("press again"))
        world.broker.message("hm1nd", "scout", "time goes on")
        await expect(page.locator("#flow")).to_contain_text("time goes on")
        assert world.host.called("approve") == []
        await page.keyboard.press("Enter")
        await expect(page.locator("#notices")).to_contain_text("#7 is approved and merged")


async def test_escape_that_is_held_cancels_no_turn(world: World) -> None:
    async with browsing(world) as b:
        page = await b.tab("/a/scout/")
        world.broker.state("scout", "thinking", "reads the papers")
        await expect(page.locator("#cancel")).to_be_visible()
        for _ in range(4):
            await page.keyboard.down("Escape")
        await page.keyboard.up("Escape")
        await page.fill("#p", "go on")
        await page.press("#p", "Enter")
        await expect(page.locator("#notices")).to_contain_text("Sent to scout")
        assert world.broker.called("command") == []
        await page.keyboard.press("Escape")
        await page.keyboard.press("Escape")
        await expect(page.locator("#notices")).to_contain_text("/cancel done")


async def test_escape_that_closes_something_is_no_half_of_a_cancel(world: World) -> None:
    async with browsing(world) as b:
        world.broker.state("scout", "thinking", "reads the papers")
        for what in ("dialog", "#slash"):
            page = await b.tab("/a/scout/")
            await expect(page.locator("#cancel")).to_be_visible()
            if what == "dialog":
                await page.keyboard.press("Control+k")
            else:
                await page.type("#p", "/co")
            await expect(page.locator(what)).to_be_visible()
            await page.keyboard.press("Escape")
            await page.keyboard.press("Escape")
            await expect(page.locator(what)).not_to_be_visible()
            await page.fill("#p", "go on")
            await page.press("#p", "Enter")
            await expect(page.locator("#notices")).to_contain_text("Sent to scout")
            assert world.broker.called("command") == []
            await page.close()
