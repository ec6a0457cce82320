"""⇄ MSG FL0W, the operator's inbox, dead letters, and the box to write from."""

from __future__ import annotations

from functools import partial
from typing import Any

from hive_wire.names import EVERYONE, OPERATOR, SYSTEM, is_name
from hive_wire.protocol import Message

from ..html import Child, Element, Verbatim, h, leet
from ..live.models import DeadLetter
from ..text import clip, one_line, plural
from .agents import agents
from .common import View, button, clock, form, hidden, panel

SHOWN = 60
BODY = 8192  # characters of one message on the page


def flow(view: View) -> Element:
    rows = view.snapshot.messages[-SHOWN:]
    return panel(
        "flow",
        "msg",
        "⇄",
        "MSG FL0W",
        "Message flow",
        h(
            "div.flow",
            [view.shelf.get(("message", m.id), (m,), partial(message_row, m)) for m in rows]
            or h("p.empty.pad", "Nobody has written yet."),
            role="log",
            aria_label="Messages",
            tabindex=0,
            id="flow",
            data_follow=True,
        ),
        None if view.view_only else compose(view),
        side=h("a", "all messages", href="/messages"),
    )


def message_row(m: Message) -> Element:
    kind = "you" if OPERATOR in (m.sender, m.to) else "off" if m.sender == SYSTEM else "msg"
    return h(
        "details.ev",
        h(
            "summary",
            clock(m.at),
            h(
                f"span.fr.el.s-{kind}",
                h("span.c", _who(m.sender)),
                h("span.s-msg.c", " → "),
                _who(m.to),
            ),
            h(
                "span.x",
                h("span.mut", f"[{m.kind}] ") if m.kind != "text" else None,
                one_line(m.body, 200),
            ),
        ),
        h("div.full", clip(m.body, BODY)),
        id=f"m{m.id}",
    )


def _who(name: str) -> str:
    return {OPERATOR: "you", EVERYONE: "all"}.get(name, name)


def compose(view: View, to: str = "") -> Element:
    """The form to write to an agent, or to all."""
    names = [a.name for a in agents(view.snapshot)]
    chosen = view.draft("send", "to") or to
    options = [h("option", f"@{name}", value=name, selected=name == chosen) for name in names]
    everyone = h("option", "@everyone", value=EVERYONE, selected=chosen == EVERYONE)
    return form(
        "/send",
        h("label.sr", "to", for_="to"),
        h("select", options, everyone, name="to", id="to", data_sticky="to"),
        h(
            "textarea",
            Verbatim(view.draft("send", "body")),
            name="body",
            rows=1,
            required=True,
            placeholder="write to an agent…",
            aria_label="message",
            data_slash=True,
            data_draft=True,
            data_submit="enter",
        ),
        button("➤ S3ND", "Send", "msg"),
        name="send",
        class_="compose",
    )


def inbox(view: View) -> Element:
    rows = list(reversed(view.snapshot.inbox))
    return panel(
        "inbox",
        "you",
        "✉",
        "0PER4T0R 1NB0X",
        "Operator inbox",
        h(
            "div.inbox",
            [_letter(view, m) for m in rows] or h("p.empty.pad", "Agents have not written to you."),
        ),
        side=plural(len(rows), "message") if rows else None,
    )


def _letter(view: View, m: Message) -> Element:
    name = f"reply-{m.id}"
    reply = h(
        "details.reply",
        h("summary", leet("↩ R3PLY", f"Reply to {m.sender}")),
        form(
            "/send",
            hidden("to", m.sender),
            hidden("in_reply_to", m.id),
            h(
                "textarea",
                Verbatim(view.draft(name, "body")),
                name="body",
                rows=2,
                required=True,
                aria_label=f"reply to {m.sender}",
                data_draft=True,
                data_submit="enter",
            ),
            button("➤ S3ND", "Send", "msg"),
            name=name,
            class_="compose",
        ),
        id=f"r-{m.id}",
        open=bool(view.drafts.get(name)),
    )
    return h(
        "article.letter",
        h(
            "div.row",
            h("b.s-msg.c", m.sender),
            clock(m.at),
            h("span.chip", m.kind) if m.kind != "text" else None,
        ),
        h("div.say", clip(m.body, BODY)),
        reply if is_name(m.sender) and not view.view_only else None,
        id=f"in{m.id}",
    )


def dead(view: View) -> Element:
    """D34D L3TTERS; an empty hidden section when there is none."""
    rows = view.snapshot.dead
    if not rows:
        return h("section", id="sec-dead", hidden=True)
    return panel(
        "dead",
        "bad",
        "✝",
        "D34D L3TTERS",
        "Dead letters",
        h("div.inbox", [letter(view, row) for row in rows], _more(view.snapshot.dead_behind)),
        count=len(rows) + view.snapshot.dead_behind,
    )


def _more(count: int) -> Element | None:
    """The way to those that are not here."""
    if not count:
        return None
    return h("p.pad", h("a.c.s-bad", f"▸ {plural(count, 'more dead letter')}", href="/dead"))


def letter(view: View, row: DeadLetter) -> Element:
    body = _body(row.message)
    buttons: list[Child] = []
    if not view.view_only:
        buttons = [
            form(
                view.action(f"/dead/{row.id}/{verb}"),
                hidden("agent", row.agent),
                button(label, words, kind, small=True),
                name=f"{verb}-{row.id}-{row.agent}",
            )
            for verb, label, words, kind in (
                ("retry", "↻ R3TRY", "Retry", "idle"),
                ("drop", "✕ DR0P", "Drop", "bad"),
            )
        ]
    return h(
        "article.letter",
        h(
            "div.row.wrap",
            h("b.s-bad.c", f"to {row.agent}"),
            h("span.dim", f"gave up after {plural(row.attempts, 'attempt')}: {row.cause}"),
            h("span.grow"),
            buttons,
        ),
        h("div.say", clip(body, 1000)),
        id=f"dead-{row.id}-{row.agent}",
    )


def _body(message: Any) -> str:
    if isinstance(message, dict):
        sender = message.get("sender") or message.get("from") or "?"
        return f"{sender}: {message.get('body', '')}"
    return f"message {message}"
