"""The page of one agent: what it does, what it said, and the words one may give it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from hive_wire.protocol import Event

from ..html import Element, Verbatim, h, leet
from ..live.models import Question
from ..live.tools import Tools
from ..text import one_line
from .agent_side import info
from .agents import AgentView, switcher
from .common import AssetUrl, View, age, button, form, hidden, notices, page
from .need import away, count
from .questions import more_questions, question
from .rows import row
from .shell import jump, live_badge, zone

FILTERS = ("text", "tools", "results", "thinking", "messages", "turns", "state", "errors")
PROSE = 20_000  # characters of one page that are read as Markdown; older ones are shown plain
COMMANDS = (
    ("help", "/help", "what every command does"),
    ("compact", "/compact", "shrink the context now"),
    ("clear", "/clear", "new session; the history stays readable here"),
)
Section = Callable[[View, AgentView], Element]


def head(view: View, it: AgentView) -> Element:
    cancel = form(
        f"/a/{it.name}/command",
        hidden("command", "cancel"),
        h(
            "button.btn.sm.st.s-bad",
            h("span", "■ CANC3L", h("span.hide-m", " TURN"), aria_hidden="true"),
            h("kbd", "Esc Esc", aria_hidden="true"),
            h("span.sr", "Cancel the running turn"),
            type="submit",
            id="cancel",
        ),
        name="cancel",
    )
    return h(
        "header.top",
        h("a.dim", "‹", h("span.hide-m", " swarm"), href="/swarm", aria_label="back to the swarm"),
        h("h1.hi.name", it.name),
        it.badge(),
        h(
            "span.dim.hide-m.el",
            one_line(it.detail or (it.host.description if it.host else ""), 200),
        ),
        h("span.grow"),
        live_badge(),
        jump(),
        zone(),
        h("a.btn.sm.only-s", leet("▤", "Details"), href="#sec-info"),
        cancel if _is_busy(it) and not view.view_only else None,
        id="sec-head",
    )


def _is_busy(it: AgentView) -> bool:
    """Whether there is a turn to cancel."""
    return it.status is not None and bool(it.status.turn or it.status.state == "thinking")


def tail(events: Sequence[Event]) -> list[Element]:
    """The rows of the log, oldest first. Takes its time."""
    tools, room = Tools(events), PROSE
    made = []
    for event in reversed(events):
        length = len(str(event.data.get("text", ""))) if event.kind == "text" else 0
        made.append(row(event, rich=room > 0, tools=tools))
        room -= length
    return made[::-1]


@dataclass(frozen=True)
class Log:
    """What the middle of the page shows: drawn rows, or `away` when the broker did not answer.
    `query` is what was searched for, `at` the id of a row that one looks at; with `more` there are
    older ones before the id `first`."""

    rows: Sequence[Element] = ()
    away: bool = False
    query: str = ""
    first: int | None = None
    more: bool = False
    at: int | None = None

    @property
    def is_apart(self) -> bool:
        """Not the log's end: nothing is added to it."""
        return bool(self.query) or self.at is not None


def agent_page(view: View, it: AgentView, log: Log, asset: AssetUrl, cursor: int | None) -> str:
    main = h(
        "main.mid",
        _toolbar(it, log),
        notices(view),
        away(view),
        _log(it, log),
        None if view.view_only else _ask(view, it),
        id="main",
    )
    return page(
        asset,
        f"{it.glyph} {it.name} · hyperhive",
        [
            h("a.skip", "skip to prompt", href="#p"),
            head(view, it),
            h("div.shell", switcher(view, it.name), main, info(view, it)),
        ],
        script="agent.js",
        body_class="agent",
        count=count(view),
        data={
            "page": "agent",
            "name": it.name,
            "uid": it.uid or "",
            "cursor": "" if cursor is None else cursor,
            "found": log.query or log.at or "",
            "blind": "1" if log.away and "broker" in view.snapshot.away else "",
            "now": f"{time.time():.3f}",
        },
    )


def _toolbar(it: AgentView, log: Log) -> Element:
    filters = [
        h("button.tg", name, type="button", aria_pressed="true", data_filter=name)
        for name in FILTERS
    ]
    search = h(
        "form.find",
        h(
            "input",
            type="text",
            name="q",
            value=log.query or None,
            maxlength="200",
            placeholder="search all history   /",
            aria_label="search all history",
            data_slash=True,
            autocomplete="off",
        ),
        h("button.btn.sm.only-m", leet("⌕", "Search"), type="submit"),
        method="get",
        action=f"/a/{it.name}/",
        role="search",
    )
    toggles = [
        h("button.tg", name, type="button", aria_pressed="true", data_toggle=name)
        for name in ("wrap", "times")
    ]
    save = h(
        "a.tg", leet("⤓ save", "Save the log as text"), href=f"/a/{it.name}/log.txt", download=True
    )
    buttons = h("div.tgs", filters, h("span.bar2", aria_hidden="true"), toggles, save)
    return h("div.tool", buttons, search, role="toolbar", aria_label="log", id="tool")


def _log(it: AgentView, log: Log) -> Element:
    older = None
    if log.first is not None and log.more and log.at is None:
        query = {"before": str(log.first)} | ({"q": log.query} if log.query else {})
        href = f"/a/{it.name}/?{urlencode(query)}"
        label = "↑ older finds" if log.query else "↑ older events"
        older = h("div.gap", h("a", label, href=href, id=None if log.query else "older"))
    words = f"What was said and done with “{one_line(log.query, 80)}”. "
    if log.at is not None:
        words = "The log around one row. "
    back = h("a.s-idle.c", "back to the log", href=f"/a/{it.name}/")
    found = h("p.warn.s-idle", words, back) if log.is_apart else None
    nothing = "Nothing was found." if log.query else "No event yet."
    if log.query and log.more:
        nothing = "Nothing was found yet, there is more to look through."
    if log.away:
        nothing = "The broker is away: no history to show."
    return h(
        "div.tail",
        found,
        older,
        h("p.empty.pad", nothing) if not log.rows else None,
        log.rows,
        role="log",
        aria_label="event log",
        tabindex=0,
        id="tail",
    )


def hint(view: View, it: AgentView) -> Element:
    """Below the prompt: what sending does now."""
    busy = it.state in ("thinking", "waiting", "rate-limited", "paused")
    waiting = it.status.queued if it.status else 0
    return h(
        "div.row.pad2",
        h(
            "span.dim.el.hide-m",
            f"{it.name} is {it.word}" if busy else None,
            f" · {waiting} queued" if waiting else None,
            ": " if busy else " · " if waiting else None,
            h("kbd", "⏎"),
            " queues it for the next turn · " if busy else " sends · ",
            h("kbd", "Shift ⏎"),
            " new line · ",
            h("kbd", "↑"),
            " history",
        ),
        h("span.grow"),
        [
            h("button.btn.sm.ghost", label, type="submit", form=f"f-{command}", title=title)
            for command, label, title in COMMANDS
        ],
        button("➤ QU3UE" if busy else "➤ S3ND", "Send", "idle", primary=True, small=True),
        id="sec-hint",
    )


def asks(view: View, it: AgentView) -> Element:
    """What it asks, to be answered where one looks at it."""
    rows = [q for q in view.snapshot.questions if q.state == "open" and q.agent == it.name]
    found = [
        h(
            "details.askq.s-you",
            h(
                "summary",
                h("b.c", "?", aria_hidden="true"),
                h("span.el.grow.hi", _asked(q)),
                age(q.expires, down=True) if q.expires else None,
            ),
            question(view, q),
            id=f"askq-{q.id}",
            open=q.permission is not None,
        )
        for q in rows
    ]
    behind = view.snapshot.questions_behind
    return h("div.asks", found, more_questions(behind), id="sec-asks", hidden=not (rows or behind))


def _asked(q: Question) -> str:
    if q.permission is not None:
        return f"wants to use {one_line(q.permission.tool, 60)}"
    return one_line(q.text, 160)


def _ask(view: View, it: AgentView) -> Element:
    forms = [
        form(f"/a/{it.name}/command", hidden("command", command), name=command)
        for command, _, _ in COMMANDS
    ]
    prompt = form(
        f"/a/{it.name}/prompt",
        h("label.sr", "Prompt", for_="p"),
        h(
            "textarea",
            Verbatim(view.draft("prompt", "body")),
            name="body",
            id="p",
            rows=2,
            required=True,
            placeholder=f"tell {it.name} what to do…   / for commands",
            data_draft=True,
            data_submit="enter",
        ),
        hint(view, it),
        name="prompt",
        class_="box2 s-idle",
    )
    pill = h("button.pill", "↓ new", type="button", id="pill", hidden=True)
    return h("div.ask", pill, asks(view, it), prompt, forms)


LIVE: dict[str, Section] = {
    "head": head,
    "away": lambda view, _it: away(view),
    "side": lambda view, it: switcher(view, it.name),
    "info": info,
    "hint": hint,
    "asks": asks,
}
