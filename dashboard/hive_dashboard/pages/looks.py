"""Pages to look things up: the dry run, a container's journal, a row, all messages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from hive_wire.names import EVERYONE
from hive_wire.protocol import Event, Message

from ..html import Child, Element, h, leet
from ..live.models import DeadLetter, Question
from ..text import coloured, one_line, plural, quoted, terminal
from .agents import AgentView, agents
from .common import AssetUrl, View, clock, notices, page
from .flow import letter, message_row
from .need import away
from .output import coloured_parts
from .questions import question
from .shell import bar, log_out

ALL = 10_000  # colours on a page of one thing
_MARK = {
    "create": ("+", "ok"),
    "start": ("+", "ok"),
    "update": ("~", "think"),
    "restart": ("-/+", "think"),
    "stop": ("-", "bad"),
    "destroy": ("-", "bad"),
    "adopt": ("=", "off"),
}


def plan_page(view: View, asset: AssetUrl, plan: dict[str, Any]) -> str:
    """What the loop would do now."""
    actions = [a for a in plan.get("actions") or () if a.get("kind") != "adopt"]
    approved = [a for a in actions if not a.get("drift")]
    drift = [a for a in actions if a.get("drift")]
    blocked = plan.get("blocked") or ()
    left_out = plan.get("left_out") or 0
    parts: list[Child] = [
        _actions("Approved changes", approved) if approved else None,
        _actions("Drift: nobody approved it; the loop puts it back", drift) if drift else None,
        h(
            "div",
            h("h2.dim", "Not now"),
            h(
                "ul.plan",
                [
                    h(
                        "li.s-think",
                        h("b.c", f"! {b.get('agent')} {b.get('reason')} "),
                        one_line(str(b.get("message", "")), 400),
                    )
                    for b in blocked
                ],
            ),
        )
        if blocked
        else None,
        h("p.s-ok.c", "✓ Nothing to do: the containers match.") if not actions else None,
        h("p.dim", f"{left_out} more are not shown here: they are too many.") if left_out else None,
    ]
    commit = str(plan.get("commit", ""))[:12]
    return _page(
        view,
        asset,
        "plan",
        ("⟳ PL4N", "Plan: the dry run"),
        h("p.dim", "What the loop would do now for ", h("code", commit), "; nothing is done here."),
        parts,
    )


def _actions(title: str, rows: Sequence[dict[str, Any]]) -> Element:
    return h("div", h("h2.dim", title), h("ul.plan", [_action(row) for row in rows]))


def _action(row: dict[str, Any]) -> Element:
    mark, kind = _MARK.get(str(row.get("kind")), ("·", "off"))
    return h(
        f"li.s-{kind}",
        h("b.c", f"{mark} {row.get('agent')} "),
        f"{row.get('kind')} {row.get('container', '')} ",
        h("span.dim", one_line(str(row.get("reason", "")), 400)),
    )


def journal_page(view: View, asset: AssetUrl, it: AgentView, lines: Sequence[str]) -> str:
    text = coloured_parts(coloured("\n".join(lines)), ALL)
    return _page(
        view,
        asset,
        "journal",
        (f"▤ {it.name}: J0URNAL", f"Journal of {it.name}"),
        h(
            "p.row.wrap",
            h(
                "span.dim.grow",
                f"what the container printed: the last {plural(len(lines), 'line')}",
            ),
            h("a.btn.sm", "again", href=f"/a/{it.name}/journal"),
            h("a.btn.sm", f"‹ {it.name}", href=f"/a/{it.name}/"),
        ),
        h("pre.journal", text, tabindex=0, role="region", aria_label="journal")
        if lines
        else h("p.empty", "It has printed nothing."),
    )


def row_page(view: View, asset: AssetUrl, it: AgentView, event: Event) -> str:
    text = event.data.get("text")
    shown = (
        coloured(text)
        if isinstance(text, str)
        else quoted(json.dumps(event.data, ensure_ascii=False, indent=1))
    )
    return _page(
        view,
        asset,
        "row",
        (f"▤ {it.name}: R0W {event.id}", f"Row {event.id} of {it.name}"),
        h(
            "p.row.wrap",
            clock(event.at),
            h("span.chip", event.kind),
            h("span.grow"),
            h("a.btn.sm", "in the log", href=f"/a/{it.name}/?at={event.id}#e{event.id}"),
        ),
        h(
            "pre.journal",
            coloured_parts(shown, ALL),
            tabindex=0,
            role="region",
            aria_label="row",
        ),
    )


def saved(events: Sequence[Event]) -> str:
    """A log as text: a time in UTC, a kind and what was said, for each event."""
    lines = []
    for event in events:
        at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds")
        text = event.data.get("text")
        said = (
            terminal(text)
            if isinstance(text, str)
            else quoted(json.dumps(event.data, ensure_ascii=False))
        )
        body = said.rstrip("\n").replace("\n", "\n    ")
        lines.append(f"{at.removesuffix('+00:00')}Z {event.id} {event.kind} {body}\n")
    return "".join(lines)


def messages_page(view: View, asset: AssetUrl, rows: Sequence[Message], peer: str) -> str:
    """All messages, newest last, a page at a time; `peer` shows one agent's only."""
    names = [a.name for a in agents(view.snapshot)]
    if peer and peer not in names:
        names.append(peer)
    picks = [h("option", "everybody", value="", selected=not peer)]
    picks += [h("option", f"@{n}", value=n, selected=n == peer) for n in names if n != EVERYONE]
    query = f"peer={peer}&" if peer else ""
    first = rows[0].id if rows else 0
    older = h("p.gap", h("a", "↑ older messages", href=f"/messages?{query}before={first}"))
    return _page(
        view,
        asset,
        "messages",
        ("⇄ MSG FL0W", "All messages"),
        h(
            "form.row",
            h("label.sr", "of whom", for_="peer"),
            h("select", picks, name="peer", id="peer"),
            h("button.btn.sm", "show", type="submit"),
            method="get",
            action="/messages",
        ),
        older if rows else None,
        h("div.all", [message_row(m) for m in rows])
        if rows
        else h("p.empty", "There is no message here."),
    )


def questions_page(
    view: View, asset: AssetUrl, rows: Sequence[Question], behind: int | None, count: int
) -> str:
    """Open questions, the oldest first, a page at a time; `count` are open in all."""
    return _page(
        view,
        asset,
        "questions",
        ("? QUEST10NS", "Open questions"),
        h("p.dim.num", f"{len(rows)} of {plural(count, 'open question')}, the oldest first")
        if rows
        else h("p.empty", "No agent waits for an answer here."),
        h("div.qs", [question(view, q) for q in rows]),
        h("a.btn", "▸ next", href=f"/questions?after={behind}") if behind is not None else None,
    )


def dead_page(
    view: View, asset: AssetUrl, rows: Sequence[DeadLetter], behind: str | None, count: int
) -> str:
    """Dead letters, those given up last first, a page at a time; there are `count` in all."""
    return _page(
        view,
        asset,
        "dead",
        ("✝ D34D L3TTERS", "Dead letters"),
        h("p.dim.num", f"{len(rows)} of {plural(count, 'dead letter')}, the newest first")
        if rows
        else h("p.empty", "There is no dead letter here."),
        h("div", [letter(view, row) for row in rows]),
        h("a.btn", "▸ next", href=dead_address(behind)) if behind is not None else None,
    )


def dead_address(after: str | None) -> str:
    return f"/dead?{urlencode({'after': after})}" if after else "/dead"


def _page(view: View, asset: AssetUrl, current: str, title: tuple[str, str], *body: Child) -> str:
    return page(
        asset,
        f"{title[1]} · hyperhive",
        [
            bar(view, current, log_out()),
            h(
                "main.plainpage",
                notices(view),
                away(view),
                h(
                    "section.pan.s-idle",
                    h("header", h("h1", leet(*title))),
                    h("div.body.col", body),
                ),
                id="main",
            ),
        ],
        script="plain.js",
    )
