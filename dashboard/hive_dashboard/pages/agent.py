"""The page of one agent: what it does, what it said, and the words one may give it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from hive_wire.protocol import Event

from ..html import Child, Element, Verbatim, h, leet
from ..text import one_line
from .agents import AgentView, switcher
from .common import (
    AssetUrl,
    View,
    age,
    button,
    form,
    hidden,
    notices,
    page,
    size,
)
from .need import away
from .rows import row
from .shell import jump, live_badge, zone

FILTERS = ("text", "tools", "results", "thinking", "messages", "turns", "state", "errors")
COMMANDS = (
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
            leet("■ CANC3L TURN", "Cancel the running turn"),
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
        cancel if it.state == "thinking" and not view.view_only else None,
        id="sec-head",
    )


def info(view: View, it: AgentView) -> Element:
    host, status = it.host, it.status
    work = [p for p in view.snapshot.open if it.name in (p.agent, p.requester)]
    asks = [q for q in view.snapshot.questions if q.agent == it.name and q.state == "open"]
    parts: list[Child] = []
    if it.troubles:
        parts.append(
            _box(
                "COND1TIONS",
                "Conditions",
                "bad",
                [
                    h(
                        "div.cond.s-bad",
                        h("span.c", f"{c.type}/{c.reason}"),
                        " ",
                        one_line(c.message, 400),
                        " ",
                        age(c.since) if c.since else None,
                    )
                    for c in it.troubles
                ],
            )
        )
    parts.append(
        _box(
            "W0RK",
            "Work",
            "ok",
            [
                [
                    _kv(h("a.s-ok.c", f"◆ #{p.n}", href=f"/proposals/{p.n}"), "waits for you")
                    for p in work
                ],
                [
                    _kv(
                        h("a.s-you.c", f"? {one_line(q.text, 30)}", href=f"/#f-answer-{q.id}"),
                        "asks",
                    )
                    for q in asks
                ],
                _kv("queued", status.queued if status else "unknown"),
                _kv("turn", status.turn or "none") if status else None,
                _kv("dead letters", status.dead) if status and status.dead else None,
            ],
        )
    )
    if host:
        parts.append(
            _box(
                "B0X",
                "Container",
                "idle",
                [
                    _kv("container", host.container or it.name),
                    _kv("engine", host.engine),
                    _kv("state", host.state or host.desired),
                    _kv("revision", (host.revision or "none")[:12]),
                    _kv("in sync", "yes" if host.in_sync else "update pending"),
                    _kv("tasks", host.tasks) if host.tasks else None,
                    _kv("memory", size(host.memory)) if host.memory else None,
                ],
            )
        )
    if not view.view_only:
        parts.append(_power(it))
    return h("aside.info", parts, id="sec-info", aria_label="agent details")


def _box(label: str, words: str, kind: str, rows: Child) -> Element:
    return h(f"section.s-{kind}", h("h2", leet(label, words)), h("div.b.num", rows))


def _kv(key: Child, value: Child) -> Element:
    return h("div.kv", h("span", key), h("span.el", value))


def _power(it: AgentView) -> Element:
    stopped = it.host is not None and it.host.desired == "stopped"
    wishes = (
        [("start", "▶ ST4RT", "Start", "ok")]
        if stopped
        else [("restart", "↻ R3START", "Restart", "think"), ("stop", "■ ST0P", "Stop", "bad")]
    )
    return _box(
        "P0WER",
        "Power",
        "off",
        [
            form(
                f"/a/{it.name}/power",
                [
                    button(label, words, kind, small=True, name="action", value=action)
                    for action, label, words, kind in wishes
                ],
                name="power",
                class_="row wrap",
            ),
            h("p.dim", "by a commit; a running turn ends first"),
        ],
    )


LIVE: dict[str, Section] = {
    "head": head,
    "away": lambda view, _it: away(view),
    "side": lambda view, it: switcher(view, it.name),
    "info": info,
}


def tail(events: Sequence[Event]) -> list[Element]:
    """The rows of the log, oldest first."""
    return [row(event) for event in events]


def agent_page(
    view: View, it: AgentView, events: Sequence[Event] | None, asset: AssetUrl, cursor: int | None
) -> str:
    """`events` is None when the broker did not answer."""
    filters = [
        h("button.tg", name, type="button", aria_pressed="true", data_filter=name)
        for name in FILTERS
    ]
    rows = tail(events or ())
    older = (
        h(
            "div.gap",
            h("a", "↑ older events", href=f"/a/{it.name}/?before={events[0].id}", id="older"),
        )
        if events
        else None
    )
    log = h(
        "div.tail",
        older,
        h(
            "p.empty.pad",
            "The broker is away: no history to show." if events is None else "No event yet.",
        )
        if not rows
        else None,
        rows,
        role="log",
        aria_label="event log",
        tabindex=0,
        id="tail",
    )
    main = h(
        "main.mid",
        h("div.tool", filters, h("span.grow"), role="toolbar", aria_label="log", id="tool"),
        notices(view),
        away(view),
        log,
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
        data={
            "page": "agent",
            "name": it.name,
            "uid": it.uid or "",
            "cursor": "" if cursor is None else cursor,
            "now": f"{time.time():.3f}",
        },
    )


def _ask(view: View, it: AgentView) -> Element:
    commands = [
        form(
            f"/a/{it.name}/command",
            hidden("command", command),
            h("button.btn.sm.ghost", label, type="submit", title=title),
            name=command,
        )
        for command, label, title in COMMANDS
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
        h(
            "div.row.pad2",
            h(
                "span.dim.el.hide-m",
                h("kbd", "⏎"),
                " sends; queued while a turn runs · ",
                h("kbd", "Shift ⏎"),
                " new line",
            ),
            h("span.grow"),
            button("➤ S3ND", "Send", "idle", primary=True, small=True),
        ),
        name="prompt",
        class_="box2 s-idle",
    )
    pill = h("button.pill", "↓ new", type="button", id="pill", hidden=True)
    return h("div.ask", pill, prompt, h("div.row.cmds", commands))
