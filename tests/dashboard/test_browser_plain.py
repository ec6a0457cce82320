"""Every form there is, without any script, in a real browser."""

from __future__ import annotations

import re
import time

from playwright.async_api import Page, expect
from support.browsing import NEEDED, browsing
from support.dashboard_world import World
from support.page_rows import agent_status

from hive_dashboard.acts.table import ACTIONS

pytestmark = NEEDED
# By path: the page, what is opened, filled and ticked there, and which button sends it.
OPEN, TICK, PICK = "open", "tick", "pick"
Step = tuple[str, str] | tuple[str, str, str]
FORMS: dict[str, tuple[str, list[Step], str]] = {
    "/proposals/7/approve": (
        "/",
        [(OPEN, "#ap7"), (TICK, "#f-approve-7 noscript input")],
        "#f-approve-7 button",
    ),
    "/proposals/8/deny": (
        "/",
        [(OPEN, "#ap8"), (OPEN, "#deny-8"), ("#deny-8 textarea", "not now")],
        "#deny-8 button",
    ),
    "/proposals/9/changes": (
        "/",
        [(OPEN, "#ap9"), (OPEN, "#changes-9"), ("#changes-9 textarea", "name the port")],
        "#changes-9 button",
    ),
    "/proposals/5/revert": ("/", [], "#f-revert-5 button"),
    "/spawn": ("/", [("#f-spawn input[name=name]", "nurse")], "#f-spawn button"),
    "/kept/old/revive": ("/", [], "#f-revive-old button"),
    "/kept/old/purge": (
        "/",
        [(OPEN, "#d-purge-dddddddddddd"), ("#f-purge-old input[name=confirm]", "old")],
        "#f-purge-old button",
    ),
    "/send": (
        "/",
        [(PICK, "#to", "everyone"), ("#f-send textarea", "to all of you")],
        "#f-send button",
    ),
    "/questions/1/answer": (
        "/",
        [(TICK, "#f-answer-1 input[value=near]")],
        "#f-answer-1 button.pri",
    ),
    "/questions/2/extend": ("/", [], "#f-answer-2 button[form=f-extend-2]"),
    "/dead/4/retry": ("/", [], "#f-retry-4-scout button"),
    "/dead/6/drop": ("/", [], "#f-drop-6-scout button"),
    "/undamp": ("/", [], "#f-undamp button"),
    "/pause": ("/", [], "#f-freeze button"),
    "/unpause": ("/", [], "#f-freeze button"),
    "/a/hm1nd/prompt": ("/a/hm1nd/", [("#p", "without scripts")], "#f-prompt button.pri"),
    "/a/hm1nd/command": ("/a/hm1nd/", [], "button[form=f-compact]"),
    "/a/scout/power": ("/a/scout/", [], "#f-power button[value=stop]"),
    "/a/scout/pause": ("/a/scout/", [], "#f-pause button"),
    "/a/scout/unpause": ("/a/scout/", [], "#f-pause button"),
    "/a/scout/retire": ("/a/scout/", [(OPEN, "#retire")], "#f-retire button"),
    "/a/scout/login/start": ("/a/scout/", [], "#f-login-start button"),
    "/a/scout/login/cancel": ("/a/scout/", [], "#f-login-cancel button"),
    "/a/scout/login/code": (
        "/a/scout/",
        [("#f-login-code input", "right")],
        "#f-login-code button",
    ),
}
# `hold` is for scripts: who has none sends the answer at once. A proposal of one's own is denied.
WITHOUT = {"/questions/{n}/hold", "/proposals/{n}/withdraw"}


def fill(world: World) -> None:
    host, broker = world.host, world.broker
    for n in (7, 8, 9):
        host.add(n)
    host.add(5, state="merged", by="ana", ended=time.time())
    host.retired = [
        {"name": "old", "uid": "dddddddddddd", "description": "was", "commit": "1" * 40, "at": 5.0}
    ]
    host.agents[1] |= {"engine": "claude", "network": "private"}
    broker.ask("Which cache?", ["near", "far"])
    broker.ask("Which port?", expires=time.time() + 300)
    letter = {"sender": "hm1nd", "body": "hm"}
    broker.dead = [
        {"id": n, "agent": "scout", "message": letter, "attempts": 5, "cause": "no"} for n in (4, 6)
    ]
    broker.condition("Damped", "hm1nd and scout", "hm1nd", "scout")
    host.changed("agents")
    world.site.mirror.stale("kept", "dead")


async def before(world: World, path: str) -> None:
    """What has to be so for the form to be there."""
    frozen = path in ("/unpause", "/a/scout/unpause")
    for name in ("hm1nd", "scout"):
        world.broker.states[name] = agent_status(name, paused=frozen)
    world.site.mirror.stale("agents")
    if path == "/a/scout/login/code":
        world.site.mirror.login_at("bbbbbbbbbbbb", "https://claude.example/login?x=1")
    await world.site.mirror.settle()


async def take(page: Page, step: Step) -> None:
    match step:
        case (str(what), str(place)) if what == OPEN:
            if await page.locator(place).get_attribute("open") is None:
                await page.click(f"{place} > summary")
        case (str(what), str(place)) if what == TICK:
            await page.check(place)
        case (str(what), str(place), str(value)) if what == PICK:
            await page.select_option(place, value)
        case (str(place), str(text)):
            await page.fill(place, text)


def test_every_action_has_a_form() -> None:
    general = {
        re.sub(r"/\d+/", "/{n}/", re.sub(r"^/(a|kept)/\w+/", r"/\1/{name}/", p)) for p in FORMS
    }
    assert general == {action.path for action in ACTIONS} - WITHOUT


async def test_every_form_is_sent_without_scripts(world: World) -> None:
    fill(world)
    async with browsing(world, scripts=False) as b:
        page = b.page
        await expect(page.locator("#live")).to_contain_text("ST4TIC")
        for path, (place, steps, button) in FORMS.items():
            await before(world, path)
            await page.goto(world.url + place)
            for step in steps:
                await take(page, step)
            async with page.expect_request(world.url + path) as sent:
                await page.locator(button).first.click()
            assert (await sent.value).method == "POST", path
            await expect(page.locator("#notices .notice.s-ok"), path).to_have_count(1)
            assert page.url.startswith(world.url + ("/a/" if path.startswith("/a/") else "/"))
        await page.goto(f"{world.url}/a/scout/")
        await page.fill(".find input", "words")
        await page.press(".find input", "Enter")
        await expect(page.locator("#tail")).to_contain_text("Nothing was found")
        await page.goto(f"{world.url}/sessions")
        await page.click("#f-logout button")
        await expect(page.locator("#code")).to_be_visible()
        assert world.site.auth.live() == []
