"""The swarm's page in a real browser."""

from __future__ import annotations

import re
import time

from playwright.async_api import expect
from support.browsing import NEEDED, browsing
from support.dashboard_world import World
from support.page_rows import NIX, TOML, line

pytestmark = NEEDED


async def test_login_by_link_leaves_no_code_behind(world: World) -> None:
    async with browsing(world, login=False) as b:
        link = await world.link("ana")
        await b.page.goto(link)
        await expect(b.page.locator("#sec-need")).to_be_visible()
        assert "#" not in b.page.url
        await expect(b.page.locator("#live")).to_contain_text("L1VE")
        await expect(b.page.locator("header.top")).to_contain_text("ana")
        await b.page.go_back()
        assert link.partition("#")[2] not in b.page.url
        assert b.troubles == []


async def test_news_come_by_themselves_and_drafts_stay(world: World) -> None:
    async with browsing(world) as b:
        page = b.page
        await page.fill("#f-spawn textarea", "a draft")
        await page.focus("#f-send textarea")
        await page.keyboard.type("half a sen")
        world.host.add(7)
        world.broker.message("hm1nd", "scout", "fresh news")
        world.broker.state("scout", "thinking", "reads the papers")
        await expect(page.locator("#ap7")).to_contain_text(["agents", "scout"][-1])
        await expect(page.locator("#flow")).to_contain_text("fresh news")
        await expect(page.locator("#box-scout")).to_contain_text("reads the papers")
        await expect(page.locator("#sec-need")).to_contain_text("1 merge to approve")
        assert (await page.title()).startswith("(1)")
        await page.keyboard.type("tence")
        assert await page.input_value("#f-send textarea") == "half a sentence"
        assert await page.input_value("#f-spawn textarea") == "a draft"
        await page.reload()
        assert await page.input_value("#f-spawn textarea") == "a draft"
        assert b.troubles == []


async def test_what_is_open_stays_open(world: World) -> None:
    world.host.add(7)
    world.host.add(8)
    async with browsing(world) as b:
        page = b.page
        await page.click("#ap7 > summary")
        await page.click("#ap8 > summary")
        world.host.add(9)
        await expect(page.locator("#ap9")).to_be_attached()
        assert await page.locator("#ap7").get_attribute("open") is not None
        assert await page.locator("#ap8").get_attribute("open") is None


async def test_approve_and_a_moved_effect(world: World) -> None:
    world.host.add(7)
    async with browsing(world) as b:
        page = b.page
        approve = page.locator("#ap7 button.pri.s-ok")
        await expect(approve).to_be_visible()
        # The effect moves under the pointer: the button still carries what was looked at.
        world.host.proposals[7]["row"]["effect"]["digest"] = "cd" * 32
        world.host.changed("proposals")
        await expect(page.locator("#ap7 [data-x-next]")).to_have_count(1)
        await approve.click()
        await expect(page.locator("#f-approve-7")).to_have_attribute(
            "data-x-sure", "2 files not viewed, a high risk: press again to approve"
        )
        assert world.host.called("approve") == [], "the first press only says what was not seen"
        await approve.click()
        await expect(page.locator("#notices")).to_contain_text("3G instead of 2G")
        await expect(page.locator("#ap7 input[name=effect]")).to_have_value("cd" * 32)
        assert world.host.proposals[7]["row"]["state"] == "open"
        await page.check("#files-7 label:nth-of-type(1) input")
        await page.check("#files-7 label:nth-of-type(2) input")
        await approve.click()
        await expect(page.locator("#f-approve-7")).to_have_attribute(
            "data-x-sure", "a high risk: press again to approve"
        )
        await approve.click()
        await expect(page.locator("#notices")).to_contain_text("#7 is approved and merged")
        await expect(page.locator("#sec-latest")).to_contain_text("merged")
        await expect(page.locator("#ap7")).to_have_count(0)


async def test_deny_and_answer_and_compose(world: World) -> None:
    world.host.add(7)
    world.broker.ask("Which cache?", ["near", "far"])
    async with browsing(world) as b:
        page = b.page
        await page.click("#deny-7 > summary")
        await page.fill("#deny-7 textarea", "not now")
        await page.click("#deny-7 button")
        await expect(page.locator("#sec-latest")).to_contain_text("not now")
        await page.check("#f-answer-1 input[value=far]")
        await page.click("#f-answer-1 button")
        await expect(page.locator("#sec-questions")).to_contain_text("No agent waits")
        assert world.broker.called("answer")[0]["choices"] == ["far"]
        await page.select_option("#to", "scout")
        await page.fill("#f-send textarea", "hello there")
        await page.press("#f-send textarea", "Enter")
        await expect(page.locator("#flow")).to_contain_text("hello there")
        assert await page.input_value("#f-send textarea") == ""
        assert b.troubles == []


async def test_a_failure_keeps_the_text(world: World) -> None:
    async with browsing(world) as b:
        page = b.page
        await world.broker.stop()
        await expect(page.locator("#sec-away")).to_contain_text("the broker is away")
        await page.fill("#f-send textarea", "do not lose me")
        await page.press("#f-send textarea", "Enter")
        await expect(page.locator("#notices")).to_contain_text("The broker is away")
        assert await page.input_value("#f-send textarea") == "do not lose me"
        await world.broker.start()
        await expect(page.locator("#sec-away")).not_to_contain_text("away")


async def test_what_somebody_types_outlives_its_question(world: World) -> None:
    world.broker.ask("Which cache?")
    async with browsing(world) as b:
        page = b.page
        await page.fill("#f-answer-1 textarea", "my long answer")
        world.broker.questions[0]["state"] = "answered"
        world.broker.emit("question", world.broker.questions[0])
        await expect(page.locator("#f-answer-1")).to_contain_text("settled meanwhile")
        assert await page.input_value("#f-answer-1 textarea") == "my long answer"


async def test_time_stands_still_while_one_types(world: World) -> None:
    world.broker.ask("Which cache?", expires=time.time() + 30)
    async with browsing(world) as b:
        await b.page.locator("#f-answer-1 textarea").press_sequentially("let me think")
        await expect(b.page.locator("#f-answer-1 [data-x-held]")).to_have_count(1)
        assert world.broker.called("question.hold") == [{"id": 1}]
        await expect(b.page.locator("#f-answer-1 [data-until]")).to_contain_text("1:")
        assert await b.page.input_value("#f-answer-1 textarea") == "let me think"


async def test_time_stands_still_on_the_page_of_all_questions_too(world: World) -> None:
    n = world.broker.ask("Which port?", expires=time.time() + 300)
    async with browsing(world) as b:
        page, text = b.page, b.page.locator(f"#f-answer-{n} textarea")
        await page.goto(f"{world.url}/questions")
        await text.fill("the second")
        await world.until(lambda: world.broker.called("question.hold") == [{"id": n}])
        await page.click(f"button[form=f-extend-{n}]")
        await expect(page.locator("#notices")).to_contain_text("15 minutes longer")
        await expect(text).to_have_value("the second")
        await page.click(f"#f-answer-{n} button.pri")
        await expect(page.locator("#notices")).to_contain_text("Answered.")
        assert page.url == f"{world.url}/questions"
        assert world.broker.called("answer")[0]["text"] == "the second"
        kept = await page.evaluate("Object.keys(localStorage).filter(k => k.includes('draft'))")
        assert kept == []


async def test_a_diff_side_by_side(world: World) -> None:
    world.host.add(7)
    async with browsing(world) as b:
        page = b.page
        boxes = "#ap7 .chg:first-of-type .dl"
        await page.click("[data-split]")
        gone = await page.locator("#ap7 .dl.d").first.bounding_box()
        came = await page.locator("#ap7 .dl.a").first.bounding_box()
        assert gone is not None
        assert came is not None
        assert abs(gone["y"] - came["y"]) < 2
        assert came["x"] > gone["x"]
        world.host.add(8)
        await expect(page.locator("#ap8")).to_be_attached()
        await expect(page.locator("[data-split]")).to_have_text("unified")
        await page.reload()
        await expect(page.locator("[data-split]")).to_have_text("unified")
        assert await page.locator(boxes).count() >= 2


async def test_ended_sessions_say_so_and_keep_the_text(world: World) -> None:
    async with browsing(world) as b:
        page = b.page
        await page.fill("#f-spawn textarea", "a draft")
        for session in world.site.auth.live():
            await world.site.auth.end(session.label)
        await expect(page.locator("#notices")).to_contain_text("logged out")
        assert await page.input_value("#f-spawn textarea") == "a draft"


async def test_keys(world: World) -> None:
    world.host.add(7)
    world.host.add(8)
    async with browsing(world) as b:
        page = b.page
        await expect(page.locator("#ap8")).to_be_attached()
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        await expect(page.locator("#ap7")).to_have_attribute("open", "")
        await page.keyboard.press("v")
        await expect(page.locator("#files-7 .viewed")).to_have_text("1 / 2 viewed")
        await page.keyboard.press("a")
        assert world.host.called("approve") == [], "the first press only points at the button"
        await page.keyboard.press("a")
        await expect(page.locator("#sec-latest")).to_contain_text("#7")
        await page.keyboard.press("?")
        await expect(page.locator("dialog")).to_contain_text("approve")


async def test_a_box_belongs_to_what_was_viewed(world: World) -> None:
    world.host.add(7)
    async with browsing(world) as b:
        page = b.page
        await page.check("#files-7 label:nth-of-type(1) input")
        await page.reload()
        await expect(page.locator("#files-7 .viewed")).to_have_text("1 / 2 viewed")
        world.host.proposals[7]["diff"] = [{**TOML, "hunks": [[line("+", None, 1, "x = 1")]]}, NIX]
        world.host.proposals[7]["row"]["effect"]["digest"] = "cd" * 32
        world.host.changed("proposals")
        await expect(page.locator("#files-7 .viewed")).to_have_text("0 / 2 viewed")
        assert b.troubles == []


async def test_the_badge_stays_green_when_its_bar_is_drawn_anew(world: World) -> None:
    async with browsing(world) as b:
        page = await b.tab("/a/scout/")
        await expect(page.locator("#live")).to_have_class(re.compile("s-ok"))
        await page.evaluate(
            "() => { window.grey = 0; new MutationObserver(() => {"
            " if (document.getElementById('live').classList.contains('s-off')) window.grey++"
            " }).observe(document.getElementById('live'), {attributes: true}) }"
        )
        world.broker.state("scout", "thinking", "reads the papers")
        await expect(page.locator("#sec-head")).to_contain_text("reads the papers")
        assert await page.evaluate("window.grey") == 0
