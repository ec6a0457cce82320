"""Palette, keys, counts, notifications, the flow's marks: what only scripts can do."""

from __future__ import annotations

import time

from playwright.async_api import expect
from support.browsing import NEEDED, browsing
from support.dashboard_world import World

pytestmark = NEEDED


async def test_ctrl_k_jumps(world: World) -> None:
    async with browsing(world) as b:
        page = b.page
        await expect(page.locator("[data-jump-to]")).to_be_visible()
        await page.keyboard.press("Control+k")
        await page.keyboard.type("scout")
        await expect(page.locator("#jumps li").first).to_contain_text("scout")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{world.url}/a/scout/")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("audit")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{world.url}/audit")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("light")
        await page.keyboard.press("Enter")
        await expect(page.locator("html")).to_have_attribute("data-x-theme", "light")
        await page.reload()
        colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert colour == "rgb(243, 245, 248)"
        assert b.troubles == []


async def test_the_count_is_in_title_and_icon_and_is_told(world: World) -> None:
    async with browsing(world) as b:
        await b.context.grant_permissions(["notifications"])
        page = b.page
        await page.evaluate(
            "() => { window.told = []; window.Notification = class { constructor(t, o) { told.push([t, o.body]) }"
            " static permission = 'granted'; static async requestPermission() { return 'granted' } } }"
        )
        await page.keyboard.press("Control+k")
        await page.keyboard.type("tell me")
        await page.keyboard.press("Enter")
        await expect(page.locator("#notices")).to_contain_text("You are told")
        world.host.add(7)
        await expect(page).to_have_title("(1) hyperhive")
        assert (await page.get_attribute("link[rel=icon]", "href") or "").endswith("icon-1.svg")
        assert await page.evaluate("told") == [], "it is in front: no need to tell"
        await page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true, configurable: true})"
        )
        world.broker.ask("Which cache?")
        await expect(page).to_have_title("(2) hyperhive")
        assert await page.evaluate("told") == [["2 need you", "scout asks: Which cache?"]]
        assert b.troubles == []


async def test_keys_for_files_changes_and_writing(world: World) -> None:
    world.host.add(7)
    async with browsing(world) as b:
        page = b.page
        await expect(page.locator("#files-7 .viewed")).to_have_text("0 / 2 viewed")
        await page.keyboard.press("j")
        await page.keyboard.press("v")
        await page.keyboard.press("n")
        await expect(page.locator("#file-7-1 > summary")).to_be_focused()
        await page.keyboard.press("c")
        await expect(page.locator("#changes-7 textarea")).to_be_focused()
        await page.keyboard.type("name the port")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator("#notices")).to_contain_text("asked to change #7")
        await page.locator("#sec-flow h2").click()
        await page.keyboard.press("/")
        await expect(page.locator("#f-send textarea")).to_be_focused()
        await page.keyboard.type("@scout look here")
        await expect(page.locator("#to")).to_have_value("scout")
        await page.keyboard.press("Enter")
        await expect(page.locator("#flow")).to_contain_text("look here")
        assert world.broker.called("send")[-1]["to"] == "scout"
        await page.reload()
        await expect(page.locator("#to")).to_have_value("scout")
        assert b.troubles == []


async def test_the_flow_says_where_the_reader_was(world: World) -> None:
    for i in range(40):
        world.broker.message("hm1nd", "scout", f"old {i}")
    async with browsing(world) as b:
        page = b.page
        await expect(page.locator("#flow")).to_contain_text("old 39")
        await page.locator("#flow").hover()
        await page.mouse.wheel(0, -300)
        await page.wait_for_function(
            "(e => e.scrollHeight - e.scrollTop - e.clientHeight > 40)(document.getElementById('flow'))"
        )
        for i in range(3):
            world.broker.message("scout", "hm1nd", f"new {i}")
        await expect(page.locator(".pan > .pill")).to_have_text("↓ 3 new")
        await page.evaluate("localStorage.setItem('hive-flow-seen', '40')")
        await page.reload()
        await expect(page.locator("#flow .seen")).to_contain_text("you were here")
        below = await page.evaluate("document.querySelector('#flow .seen').nextElementSibling.id")
        assert below == "m41"
        world.broker.message("scout", "hm1nd", "newest")
        await expect(page.locator("#m44")).to_be_attached()
        assert (
            await page.evaluate("document.querySelector('#flow .seen').nextElementSibling.id")
            == "m41"
        )
        assert b.troubles == []


async def test_freeze_wants_a_second_and_more_time_is_given(world: World) -> None:
    world.broker.ask("Which cache?", expires=time.time() + 30)
    async with browsing(world) as b:
        page = b.page
        await page.click("#f-freeze button")
        await expect(page.locator("#notices")).to_contain_text("Hold it for a second")
        assert world.broker.called("pause") == []
        await page.click("#f-freeze button", delay=1000)
        await expect(page.locator("#notices")).to_contain_text("Frozen")
        await page.fill("#f-answer-1 textarea", "half an ans")
        await page.get_by_role("button", name="give it 15 minutes more").click()
        await expect(page.locator("#f-answer-1 [data-until]")).to_contain_text("15:")
        assert await page.input_value("#f-answer-1 textarea") == "half an ans"
        assert b.troubles == []
