"""? QUEST10NS: what agents want to know."""

from __future__ import annotations

import json
from typing import Any

from ..html import Child, Element, Verbatim, h, leet
from ..live.models import Question
from ..text import one_line, plural
from .common import View, age, button, clock, form, panel

CARDS = 50  # of more questions, those that end first have a card; all are on /questions


def questions(view: View) -> Element:
    rows = [q for q in view.snapshot.questions if q.state == "open"]
    shown = sorted(rows, key=lambda q: q.expires or float("inf"))[:CARDS]
    shown.sort(key=rows.index)
    count = len(rows) + view.snapshot.questions_behind
    return panel(
        "questions",
        "you",
        "?",
        "QUEST10NS",
        "Questions",
        h(
            "div.body.qs",
            [question(view, q) for q in shown] or h("p.empty", "No agent waits for an answer."),
            more_questions(count - len(shown)),
        ),
        count=count,
    )


def more_questions(count: int) -> Element | None:
    """The way to those that have no card here, whoever asks them."""
    if not count:
        return None
    return h("p", h("a.c.s-you", f"▸ {plural(count, 'more question')}", href="/questions"))


def option(value: Any) -> tuple[str, str]:
    """Label and explanation of an option, which is a text or {label, description}."""
    if isinstance(value, dict):
        return str(value.get("label", "")), str(value.get("description", ""))
    return str(value), ""


def question(view: View, q: Question) -> list[Element]:
    ident = f"q{q.id}"
    if view.view_only:
        return [h("div.q.s-you", _head(view, q), h("p.qt", q.text), id=ident)]
    more = form(view.action(f"/questions/{q.id}/extend"), name=f"extend-{q.id}")
    body = _permission(view, q) if q.permission else _asking(view, q)
    return [body, h("div", more, hidden=True, id=f"more-{q.id}")] if q.expires else [body]


def _head(view: View, q: Question) -> Element:
    return h(
        "div.row",
        h("a.s-you.c", h("b", q.agent), href=f"/a/{q.agent}/"),
        h("span.dim", clock(q.asked, seconds=False)),
        h("span.grow"),
        _ttl(q) if q.expires else None,
        h(
            "button.btn.sm",
            leet("+15 min", "Give it 15 minutes more"),
            type="submit",
            form=f"f-extend-{q.id}",
        )
        if q.expires and not view.view_only
        else None,
    )


def _ttl(q: Question) -> Element:
    """What is left of the time: a ring and a count."""
    assert q.expires is not None
    span = f"{q.asked:.3f} {q.expires:.3f}"
    ring = h(
        "svg.ring",
        h("circle.rest", cx=10, cy=10, r=7),
        h("circle.left", cx=10, cy=10, r=7, pathLength=100, data_ring=span),
        viewBox="0 0 20 20",
        aria_hidden="true",
    )
    return h(
        "span.badge.ttl",
        ring,
        h("span.t", age(q.expires, down=True)),
        role="timer",
        data_hold=q.id,
    )


def _permission(view: View, q: Question) -> Element:
    """An engine asks in the middle of a turn: may it use this tool, with this?"""
    asked = q.permission
    assert asked is not None
    name = f"answer-{q.id}"
    answers = [("once", "✓ 0NCE", "Allow once", "ok")]
    if asked.rule:
        answers.append(("always", "✓✓ 4LWAYS", "Allow always", "think"))
    answers.append(("deny", "✕ D3NY", "Deny", "bad"))
    return form(
        view.action(f"/questions/{q.id}/answer"),
        _head(view, q),
        h("p.qt", "wants to use ", h("b.s-think.c", one_line(asked.tool, 80)), " now:"),
        # All of it as it would run: a terminal would hide what stands before a carriage return.
        h("div.out.asked", given(asked.input), tabindex=0),
        h(
            "textarea",
            Verbatim(view.draft(name, "text")),
            name="text",
            rows=1,
            aria_label=f"a word to {q.agent}",
            placeholder="why? the model reads this (may stay empty)",
            data_draft=True,
        ),
        h(
            "p.dim",
            "4lways makes a proposal: ",
            h("code", one_line(asked.rule, 200)),
            " for its agent.toml; no answer is a denial",
        )
        if asked.rule
        else h("p.dim", "no answer in time is a denial"),
        h(
            "div.row.wrap",
            h("span.grow"),
            [
                button(label, words, kind, name="choice", value=choice, primary=choice == "once")
                for choice, label, words, kind in answers
            ],
        ),
        name=name,
        class_="q s-you",
    )


def given(value: Any) -> str:
    """What a tool is to be used with: the command itself, else JSON."""
    if isinstance(value, dict) and list(value) == ["command"]:
        return str(value["command"])
    return json.dumps(value, ensure_ascii=False, indent=1)


def _asking(view: View, q: Question) -> Element:
    name = f"answer-{q.id}"
    kind = "checkbox" if q.multi else "radio"
    rows: list[Child] = []
    for value in q.options:
        label, more = option(value)
        rows.append(
            h(
                "label.opt",
                h("input", type=kind, name="choice", value=label),
                h("span", label, h("small", more) if more else None),
            )
        )
    text = h(
        "textarea",
        Verbatim(view.draft(name, "text")),
        name="text",
        rows=2,
        aria_label=f"answer to {q.agent}",
        data_draft=True,
        placeholder="or in your own words…" if rows else "your answer…",
    )
    return form(
        view.action(f"/questions/{q.id}/answer"),
        _head(view, q),
        h("fieldset", h("legend.qt", q.text), rows, text),
        h(
            "div.row.wrap",
            h(
                "span.dim.grow",
                f"{q.agent} goes on by itself when the time is up; a late answer still arrives",
            )
            if q.expires
            else h("span.grow"),
            button("➤ ANSW3R", "Answer", "you", primary=True),
        ),
        name=name,
        class_="q s-you",
    )
