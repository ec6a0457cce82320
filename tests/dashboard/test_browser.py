"""The pages in a real browser."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright, expect
from support.dashboard_world import World
from support.fake_backends import host_agent, line

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed"),
]
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=30_000)
DESK, PHONE = (1440, 900), (390, 844)


@dataclass
class Browser:
    context: BrowserContext
    page: Page
    url: str
    strangers: list[str] = field(default_factory=list)  # requests that left the origin
    troubles: list[str] = field(default_factory=list)  # what the console said

    def watch(self, page: Page) -> Page:
        page.on(
            "request",
            lambda r: None if r.url.startswith(self.url) else self.strangers.append(r.url),
        )
        page.on(
            "console",
            lambda m: self.troubles.append(m.text) if m.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda e: self.troubles.append(str(e)))
        return page

    async def tab(self, path: str = "/") -> Page:
        page = self.watch(await self.context.new_page())
        await page.goto(self.url + path)
        return page


@asynccontextmanager
async def browsing(
    world: World,
    size: tuple[int, int] = DESK,
    *,
    scripts: bool = True,
    login: bool = True,
    scheme: str = "dark",
) -> AsyncIterator[Browser]:
    folder = tempfile.mkdtemp(prefix="hd-chromium-")
    async with async_playwright() as p:
        context = await p.chromium.launch_persistent_context(
            folder,
            executable_path=shutil.which("chromium"),
            headless=True,
            args=ARGS,
            viewport={"width": size[0], "height": size[1]},
            java_script_enabled=scripts,
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        try:
            browser = Browser(context, context.pages[0], world.url)
            browser.watch(browser.page)
            if login:
                await browser.page.goto(await world.link())
                if not scripts:
                    code = (await world.link()).partition("#")[2]
                    await browser.page.fill("#code", code)
                    await browser.page.click("button[type=submit]")
                await expect(browser.page.locator("#sec-need")).to_be_visible()
            yield browser
        finally:
            await context.close()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


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
        await page.click("#ap8 > summary")
        await page.click("#ap7 > summary")
        world.host.add(9)
        await expect(page.locator("#ap9")).to_be_attached()
        assert await page.locator("#ap8").get_attribute("open") is not None
        assert await page.locator("#ap7").get_attribute("open") is None


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
        await expect(page.locator("#notices")).to_contain_text("3G instead of 2G")
        await expect(page.locator("#ap7 input[name=effect]")).to_have_value("cd" * 32)
        assert world.host.proposals[7]["row"]["state"] == "open"
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
        assert len(ids) <= 1600
        assert ids == sorted(set(ids))
        assert ids == list(range(ids[0], last + 1)), "what is shown has no hole"
        print("long tasks:", [round(t) for t in await page.evaluate("window.long")])


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


PAYLOADS = [
    "<script>window.pwn=1</script>",
    "<img src=x onerror=window.pwn=1>",
    "<svg onload=window.pwn=1>",
    "javascript:window.pwn=1",
    '"><script>window.pwn=1</script>',
    "' onmouseover='window.pwn=1",
    "</textarea><script>window.pwn=1</script>",
    "<iframe srcdoc='<script>parent.pwn=1</script>'>",
    "<base href=https://evil.example>",
    "<form action=https://evil.example><button>APPR0VE</button></form>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "{{7*7}}${7*7}",
    "![x](https://evil.example/x.png) [y](javascript:window.pwn=1)",
    "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07",
    "\x1b[2J\x1b[31mred",
    "a\u202etxt.exe",
    "<style>@import 'https://evil.example/x.css'</style>",
    "x" * 20_000,
]


async def test_what_agents_write_never_runs(world: World) -> None:
    for payload in PAYLOADS:
        world.broker.message("scout", "operator", payload)
        world.broker.ask(payload, [payload, "b"])
        for kind in ("text", "thinking", "stderr"):
            world.broker.emit(kind, {"text": payload})
        world.broker.emit("tool_use", {"id": "1", "name": payload, "input": {"command": payload}})
        world.broker.emit("tool_result", {"id": "1", "ok": False, "text": payload})
        world.broker.emit("engine", {payload: payload})
        world.broker.emit("state", {"state": payload, "detail": payload})
    for n, payload in enumerate(PAYLOADS, 1):
        world.host.add(
            n,
            description=payload,
            files=[
                {
                    "path": f"agents/scout/{payload[:60]}",
                    "added": 1,
                    "hunks": [[line("+", None, 1, payload)]],
                }
            ],
        )
    world.host.agents.append(
        host_agent(
            "mallory",
            description=PAYLOADS[1],
            conditions=[
                {"type": "Stalled", "status": True, "reason": PAYLOADS[0], "message": PAYLOADS[1]}
            ],
        )
    )
    world.host.changed("agents")
    async with browsing(world) as b:
        await expect(b.page.locator(".ap")).to_have_count(len(PAYLOADS))
        other = await b.tab("/a/scout/")
        for payload in PAYLOADS:  # and the same by the live way
            world.broker.emit("text", {"text": payload})
            world.broker.message("scout", "operator", payload)
        await expect(b.page.locator("#sec-inbox")).to_contain_text("a⟨U+202E⟩txt.exe")
        await expect(other.locator("#tail")).to_contain_text("a⟨U+202E⟩txt.exe")
        for page in (b.page, other):
            assert await page.evaluate("window.pwn") is None
            assert await page.locator("iframe,base,main img,main script,main style").count() == 0
            assert await page.locator("[onmouseover],[onerror],[onload]").count() == 0
            links = await page.evaluate("[...document.links].map(a => a.getAttribute('href'))")
            assert all(re.match(r"[/#?]", href) for href in links)
            actions = await page.evaluate("[...document.forms].map(f => f.getAttribute('action'))")
            assert all(action.startswith("/") for action in actions)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                "an endless line"
            )
        assert b.strangers == []
        assert b.troubles == []


async def test_nothing_can_be_injected_or_framed(world: World) -> None:
    async with browsing(world) as b:
        said = await b.page.evaluate(
            """() => {
          const tries = [() => { document.body.innerHTML = '<img src=x onerror="window.pwn=1">' },
                         () => { const s = document.createElement('script'); s.textContent = 'window.pwn=1'; document.body.append(s) },
                         () => { document.body.setAttribute('onclick', 'window.pwn=1') },
                         () => { document.body.insertAdjacentHTML('beforeend', '<b>x</b>') }];
          return tries.map(f => { try { f(); return 'done' } catch (e) { return e.name } })"""
            + "}"
        )
        assert said[0] != "done"
        assert said[1] != "done"
        assert said[3] != "done"
        await b.page.click("body")
        assert await b.page.evaluate("window.pwn") is None


async def test_every_form_without_scripts(world: World) -> None:
    world.host.add(7)
    world.host.add(8)
    world.broker.ask("Which cache?", ["near", "far"])
    async with browsing(world, scripts=False) as b:
        page = b.page
        await expect(page.locator("#live")).to_contain_text("ST4TIC")
        await page.click("#ap7 button.pri.s-ok")
        await expect(page.locator("#notices")).to_contain_text("#7 is approved")
        await page.click("#deny-8 > summary")
        await page.fill("#deny-8 textarea", "not now")
        await page.click("#deny-8 button")
        await expect(page.locator("#notices")).to_contain_text("#8 is denied")
        await page.check("#f-answer-1 input[value=near]")
        await page.click("#f-answer-1 button")
        await expect(page.locator("#notices")).to_contain_text("Answered")
        await page.select_option("#to", "everyone")
        await page.fill("#f-send textarea", "to all of you")
        await page.click("#f-send button")
        await expect(page.locator("#flow")).to_contain_text("to all of you")
        await page.fill("#f-spawn input[name=name]", "nurse")
        await page.click("#f-spawn button")
        await expect(page.locator("#notices")).to_contain_text("to spawn nurse")
        await page.click("#box-scout a")
        await page.fill("#p", "without scripts")
        await page.click("#f-prompt button")
        await expect(page.locator("#tail")).to_contain_text("without scripts")
        await page.click("#f-power button[value=stop]")
        await expect(page.locator("#notices")).to_contain_text("stop scout")


@pytest.mark.parametrize("size", [PHONE, DESK])
async def test_pages_fit_the_screen(world: World, size: tuple[int, int]) -> None:
    world.host.add(7)
    world.host.agents.append(
        host_agent(
            "mallory",
            description="m",
            conditions=[
                {
                    "type": "Stalled",
                    "status": True,
                    "reason": "CrashLoop",
                    "message": "exit 1 " * 20,
                }
            ],
        )
    )
    world.host.changed("agents")
    world.broker.ask("Which cache? " * 10, ["near" * 30, "far"])
    world.broker.message("scout", "operator", "word" * 100)
    for kind, data in (
        ("text", {"text": "word" * 200}),
        ("tool_use", {"name": "Bash", "id": "1", "input": {"command": "x" * 300}}),
        ("turn.ended", {"turn": "1.1", "outcome": "ok", "duration_ms": 12, "detail": "d" * 99}),
    ):
        world.broker.emit(kind, data)
    async with browsing(world, size) as b:
        await expect(b.page.locator("#ap7 .dl").first).to_be_visible()
        for path in ("/", "/a/scout/", "/proposals/7", "/sessions"):
            await b.page.goto(world.url + path)
            assert await b.page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [
                size[0],
                size[0],
            ], path
        if size == PHONE:
            await b.page.goto(world.url)
            heights = await b.page.evaluate(
                "[...document.querySelectorAll('.act .btn')].map(b => b.getBoundingClientRect().height)"
            )
            assert heights
            assert min(heights) >= 44


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
        await expect(page.locator("#ap8")).to_have_attribute("open", "")
        await page.keyboard.press("v")
        await expect(page.locator("#files-8 .viewed")).to_have_text("1 / 2 viewed")
        await page.keyboard.press("a")
        assert world.host.called("approve") == [], "the first press only points at the button"
        await page.keyboard.press("a")
        await expect(page.locator("#sec-latest")).to_contain_text("#8")
        await page.keyboard.press("?")
        await expect(page.locator("dialog")).to_contain_text("approve")
