"""Hostile text, no scripts, small screens: in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect
from support.browsing import DESK, NEEDED, PHONE, browsing
from support.dashboard_world import World
from support.page_rows import host_agent, line

pytestmark = NEEDED


PATHS = (
    "/",
    "/a/scout/",
    "/a/scout/?q=word",
    "/a/scout/row/5",
    "/a/scout/journal",
    "/proposals/7",
    "/messages",
    "/questions",
    "/dead",
    "/audit",
    "/plan",
    "/sessions",
    "/api",
)
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
            assert all(re.match(r"[/#?]|https://evil\.example", href) for href in links)
            strange = page.locator("a[href^=http]")
            for i in range(await strange.count()):  # only words that say where they lead
                link = strange.nth(i)
                assert await link.get_attribute("rel") == "noopener noreferrer nofollow"
                said = await link.evaluate("a => a.nextElementSibling.textContent")
                assert said == " (evil.example)"
            actions = await page.evaluate("[...document.forms].map(f => f.getAttribute('action'))")
            assert all(action.startswith("/") for action in actions)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                "an endless line"
            )
        assert b.strangers == []
        assert b.troubles == []


async def test_a_copied_row_is_what_a_built_one_is(world: World) -> None:
    """New rows are made from copies of others of their class."""
    for text in ("one", "two lines\nof it", "**bold** `code`", "- a list\n- of two", *PAYLOADS):
        for kind in ("text", "thinking", "stderr"):
            world.broker.emit(kind, {"text": text})
        for ok in (True, False):
            world.broker.emit("tool_use", {"id": text, "name": text, "input": {"command": text}})
            world.broker.emit("tool_result", {"id": text, "ok": ok, "text": text})
        world.broker.emit("turn.started", {"turn": text, "attempt": len(text)})
        world.broker.emit("unheard of", {text: text})
    async with browsing(world) as b:
        page = await b.tab("/a/scout/")
        said = await page.evaluate(
            """async () => {
          const script = document.querySelector("script[type=module]").src;
          const { build, cast } = await import(script.replace("agent.js", "dom.js"));
          const { rows } = await (await fetch("/api/agent/scout/history?before=100000", {headers: {Accept: "application/json"}})).json();
          const differ = [];
          for (const [, tree] of [...rows, ...rows, ...rows.toReversed()]) {
            const [a, c] = [build(tree), cast(tree)];
            if (!a.isEqualNode(c)) differ.push([a.outerHTML, c.outerHTML]);
          }
          const row = (href, more = {}) => ["div", {class: "a row"}, ["a", {href, ...more}, "x"]];
          cast(row("/good"));
          const bad = cast(row("javascript:window.pwn=1", {onclick: "window.pwn=1"})).firstChild;
          return {n: rows.length, differ, bad: bad.getAttributeNames()};
        }"""
        )
        assert said["n"] > 100
        assert said["differ"] == []
        assert said["bad"] == []


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
        for path in PATHS:
            await b.page.goto(world.url + path)
            await b.page.evaluate(
                "document.querySelectorAll('details').forEach(d => d.open = true)"
            )
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
