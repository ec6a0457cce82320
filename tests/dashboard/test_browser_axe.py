"""axe-core finds nothing on any page, at a desk and on a phone, dark and light."""

from __future__ import annotations

import asyncio
import time
from typing import get_args

import pytest
from playwright.async_api import expect
from support.axe import axe_source, violations
from support.browsing import DESK, NEEDED, PHONE, browsing
from support.dashboard_world import World
from support.page_rows import agent_status, host_agent

from hive_wire.protocol import AgentState

pytestmark = [*NEEDED, pytest.mark.slow]
WORDS = {"waiting": "asks", "needs-login": "needs login", "rate-limited": "rate limited"}
PATHS = (
    "/a/scout/",
    "/a/scout/?q=words",
    "/a/scout/?at=5",
    "/a/scout/row/5",
    "/a/scout/journal",
    "/audit",
    "/plan",
    "/messages",
    "/questions",
    "/dead",
    "/sessions",
    "/api",
    "/proposals/7",
)


def fill(world: World) -> None:
    """Something in every part of every page."""
    stalled = {"type": "Stalled", "status": True, "reason": "CrashLoop", "message": "exit 1"}
    world.host.agents.append(host_agent("mallory", description="odd", conditions=[stalled]))
    world.host.agents[1] |= {"engine": "claude", "network": "private", "usd_per_day": 5.0}
    world.broker.states["scout"] = agent_status("scout", state="needs-login")
    world.host.retired = [
        {"name": "old", "uid": "dddddddddddd", "description": "was", "commit": "1" * 40, "at": 5.0}
    ]
    world.host.lines = ["booting"] * 50
    world.host.add(7)
    world.host.add(8, state="merged", by="ana", ended=time.time())
    now = time.time()
    world.broker.ask("Which cache?", ["near", "far"], expires=now + 300)
    world.broker.ask("may I?", ["once", "deny", "always"], expires=now + 300)
    asked = {"tool": "Bash", "input": {"command": "make"}, "rule": "Bash(make)", "turn": "1.1"}
    world.broker.questions[1].update(kind="permission", permission=asked)
    world.broker.ask("Too late?", expires=now - 5)
    world.broker.questions[2]["state"] = "expired"
    world.broker.message("scout", "operator", "hello")
    letter = {"sender": "hm1nd", "body": "hm"}
    world.broker.dead = [
        {"id": 4, "agent": "scout", "message": letter, "attempts": 5, "cause": "refused"}
    ]
    usage = {"input_tokens": 9000, "output_tokens": 10}
    for kind, data in (
        ("turn.started", {"turn": "1.1", "attempt": 1}),
        ("thinking", {"text": "hm words"}),
        ("text", {"text": "words: **b**, `c`, [docs](https://example.org/a)\n\n- one\n- two"}),
        ("tool_use", {"id": "1", "name": "Bash", "input": {"command": "ls"}}),
        ("tool_result", {"id": "1", "ok": False, "text": "words\n" * 20}),
        (
            "turn.ended",
            {"turn": "1.1", "outcome": "ok", "usage": usage, "context": 9, "window": 10},
        ),
    ):
        world.broker.emit(kind, data, turn="1.1")
    world.host.changed("agents")
    world.site.mirror.stale("kept", "dead")


@pytest.mark.parametrize(
    ("size", "scheme"), [(DESK, "dark"), (PHONE, "light")], ids=["desk-dark", "phone-light"]
)
async def test_axe_finds_nothing(world: World, size: tuple[int, int], scheme: str) -> None:
    source = await asyncio.to_thread(axe_source)
    fill(world)
    async with browsing(world, size, scheme=scheme) as b:
        page = b.page
        await expect(page.locator("#ap7 .dl").first).to_be_visible()
        await expect(page.locator("#sec-kept")).to_contain_text("old")
        await page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        found = {"/": await violations(page, source)}
        await page.keyboard.press("Control+k")
        found["palette"] = await violations(page, source)
        for path in PATHS:
            await page.goto(world.url + path)
            found[path] = await violations(page, source)
        for session in world.site.auth.live():
            await world.site.auth.end(session.label)
        await page.goto(f"{world.url}/login")
        found["login"] = await violations(page, source)
        assert {path: rows for path, rows in found.items() if rows} == {}


async def test_axe_finds_nothing_in_any_state_of_an_agent(world: World) -> None:
    source = await asyncio.to_thread(axe_source)
    async with browsing(world) as b:
        for state in get_args(AgentState):
            world.broker.state("scout", state, "why")
            await b.page.goto(f"{world.url}/a/scout/")
            await expect(b.page.locator(".top")).to_contain_text(WORDS.get(state, state))
            assert await violations(b.page, source) == [], state


async def test_axe_finds_nothing_while_all_is_away(world: World) -> None:
    source = await asyncio.to_thread(axe_source)
    async with browsing(world, login=False) as b:
        page = b.page
        await page.goto(f"{world.url}/login")
        await page.goto(await world.link())  # in the same page: only what stands after # differs
        await expect(page.locator("#live")).to_contain_text("L1VE")
        assert await violations(page, source) == [], "an empty swarm"
        await world.broker.stop()
        await world.host.stop()
        await expect(page.locator("#sec-away")).to_contain_text("the broker is away")
        assert await violations(page, source) == []
        await page.goto(f"{world.url}/a/scout/")
        assert await violations(page, source) == []
