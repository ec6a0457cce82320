"""An agent's page as the server draws it: prose, turns, search, panels, its own login."""

from __future__ import annotations

import html
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dashboard_world import SAME, World
from support.page_rows import agent_status

from hive_dashboard.html import Element, render
from hive_dashboard.live.spending import Spending
from hive_dashboard.live.tools import Tools
from hive_dashboard.pages.prose import prose
from hive_dashboard.web import views
from hive_wire.protocol import Event

KNOWN = {
    "div",
    "p",
    "em",
    "strong",
    "s",
    "ul",
    "ol",
    "li",
    "blockquote",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "code",
    "br",
    "hr",
    "a",
    "span",
}
MARKUP = st.text(st.sampled_from("*_`#~[]()!<>|-+.:/\\ \n\tahjsript0123"), max_size=200)


def event(n: int, kind: str, turn: str | None = None, **data: object) -> Event:
    return Event(
        id=n, agent="b" * 12, name="scout", seq=n, turn=turn, kind=kind, data=data, at=time.time()
    )


@pytest.mark.parametrize(
    ("text", "there", "missing"),
    [
        ("- one\n- **two**", "<li><strong>two</strong></li>", "- one"),
        ("# Big", '<p class="hd">Big</p>', "<h1"),
        ("`<b>`", "<code>&lt;b&gt;</code>", "<b>"),
        ("<img src=x onerror=pwn()>", "&lt;img src=x onerror=pwn()&gt;", "<img"),
        ("![x](https://evil.example/x.png)", ">x</a>", "<img"),
        ("[y](javascript:alert(1))", "[y](javascript:alert(1))", "href"),
        ("[y](data:text/html,x)", "[y]", "href"),
        ("[bank](https://evil.example/a)", '</a><span class="mut"> (evil.example)', "onclick"),
        ("[r](/proposals/1/approve)", "r", "href"),
        ("[r](//evil.example)", "r", "href"),
        ("```\n**x**\n```", '<div class="out">**x**</div>', "<strong>"),
        ("|a|b|\n|-|-|\n|1|2|", "<td>2</td>", "|1|"),
        ("plain words", '<div class="say">plain words</div>', "md"),
        ("a\u202eb **c**", "⟨U+202E⟩", "\u202e"),
    ],
)
def test_markdown_of_agents(text: str, there: str, missing: str) -> None:
    made = render(prose(text))
    assert there in made
    assert missing not in made


@given(MARKUP | st.text(max_size=100))
def test_markdown_makes_nothing_but_known_elements(text: str) -> None:
    def look(node: Element) -> None:
        assert node.tag in KNOWN
        names = {name for name, _ in node.attrs}
        assert names <= ({"class", "href", "rel", "target"} if node.tag == "a" else {"class"})
        for child in node.children:
            if isinstance(child, Element):
                look(child)

    look(prose(text))


def test_tools_of_a_turn_are_counted_only_from_its_start() -> None:
    end = event(9, "turn.ended", turn="1.1", outcome="ok")
    used = [event(n, "tool_use", "1.1", name="Bash") for n in (2, 3)]
    whole = Tools([event(1, "turn.started", turn="1.1"), *used, end])
    assert whole.of(end) == 2
    assert Tools([*used, end]).of(end) is None


def test_spending_is_of_the_last_day() -> None:
    usage = {"input_tokens": 100, "output_tokens": 20, "cache_read_tokens": "x"}
    rows = [event(n, "turn.ended", outcome="ok", usage=usage, cost_usd=0.25) for n in range(3)]
    old = rows[0].model_copy(update={"at": time.time() - 90_000})
    spending = Spending()
    spending.load([old, *rows])
    found = spending.spent(time.time())["b" * 12]
    assert (found.turns, found.tokens, found.usd) == (3, 360, 0.75)
    assert spending.spent(time.time() + 90_000) == {}


async def test_the_context_is_a_gauge(page_world: World) -> None:
    world = page_world
    assert "C0NTEXT" not in await world.get("/a/scout/"), "no data is no zero"
    ended = {"turn": "1.1", "outcome": "ok", "context": 122_000, "window": 200_000}
    world.broker.emit("turn.ended", ended)
    await world.until(lambda: bool(world.site.mirror.snapshot.spent))
    page = await world.get("/a/scout/")
    assert "122k of 200k tokens" in page
    assert "61%" in page
    assert "context 61% full" in await world.get("/")


async def test_search_looks_in_all_history(page_world: World) -> None:
    world = page_world
    world.broker.emit_many([("text", {"text": f"line {i}"}) for i in range(450)])
    world.broker.emit("text", {"text": "the needle <b>"})
    world.broker.emit_many([("text", {"text": f"more {i}"}) for i in range(450)])
    page = await world.get("/a/scout/?q=needle")
    assert world.broker.called("search_events") == [
        {"agent": "b" * 12, "query": "needle", "limit": 200}
    ]
    assert "the needle &lt;b&gt;" in page
    assert "more 449" not in page
    assert "back to the log" in page
    assert "Nothing was found" in await world.get("/a/scout/?q=absent")
    page = html.unescape(await world.get("/a/scout/?q=line"))
    assert "older finds" in page
    assert "?before=251&q=line" in page


async def test_the_button_says_that_it_queues(page_world: World) -> None:
    world = page_world
    assert "S3ND" in await world.get("/a/scout/")
    world.broker.state("scout", "thinking", "works", queued=2)
    await world.until(lambda: world.site.mirror.snapshot.agents["scout"].state == "thinking")
    page = await world.get("/a/scout/")
    assert "QU3UE" in page
    assert "2 queued" in page


async def test_an_agent_logs_in_from_its_page(page_world: World) -> None:
    world = page_world
    world.host.agents[1] |= {"engine": "claude", "network": "private"}
    world.broker.states["scout"] = agent_status("scout", state="needs-login")
    world.broker.emit("state", {"state": "needs-login"})
    world.host.changed("agents")
    await world.until(lambda: world.site.mirror.snapshot.agents["scout"].state == "needs-login")
    assert "/a/scout/login/start" in await world.get("/a/scout/")
    assert "/login/start" not in await world.get("/a/hm1nd/"), "the rehearsal needs none"
    page = await post(world, "/a/scout/login/start", {})
    assert 'href="https://claude.example/login?x=1"' in page
    assert '1. Log in at <b class="hi">claude.example</b>: ' in page
    page = await post(world, "/a/scout/login/code", {"code": "wrong"}, 403)
    assert "the code is not the one" in page
    assert "wrong" not in page, "a code is never shown again"
    page = await post(world, "/a/scout/login/code", {"code": " right "})
    assert "logged in as ana@example.org" in page
    assert "claude.example" not in page
    await post(world, "/a/scout/login/start", {})
    page = await post(world, "/a/scout/login/cancel", {})
    assert "claude.example" not in page


async def post(world: World, path: str, data: dict[str, str], status: int = 200) -> str:
    async with world.http.post(world.url + path, data=data, headers=SAME) as answer:
        assert answer.status == status, path
        return html.unescape(await answer.text())


async def test_a_row_has_an_address_and_the_log_is_saved(page_world: World) -> None:
    world = page_world
    world.broker.emit_many([("text", {"text": f"line {i}"}) for i in range(500)])
    long = world.broker.emit("text", {"text": "y" * 9000 + "<b>end"})
    world.broker.emit("text", {"text": "\x1b[31mred\x1b[0m\nand more"})
    page = await world.get("/a/scout/?at=100")
    assert "line 99<" in page
    assert "line 180<" in page
    assert "line 300<" not in page
    assert 'data-found="100"' in page
    assert "The log around one row" in page
    whole = await world.get(f"/a/scout/row/{long}")
    assert "y&lt;b&gt;end" in whole
    for path in ("/a/scout/row/99999", "/a/nobody/row/1", "/a/nobody/log.txt"):
        async with world.http.get(world.url + path) as answer:
            assert answer.status == 404
    async with world.http.get(f"{world.url}/a/scout/log.txt") as answer:
        assert answer.headers["Content-Disposition"] == 'attachment; filename="scout-log.txt"'
        assert answer.content_type == "text/plain"
        lines = (await answer.text()).splitlines()
    assert len(lines) == 503
    assert lines[-2].endswith(" text red")
    assert lines[-1] == "    and more"
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z 1 text line 0$", lines[0])
    await world.broker.stop()
    for path in ("/a/scout/row/1", "/a/scout/log.txt"):
        async with world.http.get(world.url + path) as answer:
            assert answer.status == 503


async def test_a_saved_log_has_an_end(page_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows hold up to 64 KiB, and an agent may write as many as it likes."""
    monkeypatch.setattr(views, "SAVED_SIZE", 1 << 19)
    world = page_world
    for n in range(40):
        world.broker.emit_many([("text", {"text": f"{n} " + "x" * 500})] * 100)
    text = await world.get("/a/scout/log.txt")
    assert len(text) < 3 << 19
    assert " text 39 xxx" in text
    assert " text 0 xxx" not in text


async def test_what_it_asks_is_answered_on_its_page(page_world: World) -> None:
    world = page_world
    world.broker.ask("Which cache?", ["near", "far"])
    world.broker.ask("Something else?", agent="hm1nd")
    await world.until(lambda: len(world.site.mirror.snapshot.questions) == 2)
    page = await world.get("/a/scout/")
    assert 'action="/questions/1/answer?back=%2Fa%2Fscout%2F"' in page
    assert 'action="/questions/2/answer' not in page
    async with world.http.get(f"{world.url}/api/agent/scout") as answer:
        assert "asks" in (await answer.json())["sections"]
