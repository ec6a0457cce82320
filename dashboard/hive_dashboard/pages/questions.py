"""? QUEST10NS: what agents want to know."""

from __future__ import annotations

from typing import Any

from ..html import Child, Element, Verbatim, h
from ..live.models import Question
from .common import View, age, button, clock, form, panel


def questions(view: View) -> Element:
    rows = [q for q in view.snapshot.questions if q.state == "open"]
    return panel(
        "questions",
        "you",
        "?",
        "QUEST10NS",
        "Questions",
        h(
            "div.body.qs",
            [_question(view, q) for q in rows] or h("p.empty", "No agent waits for an answer."),
        ),
        count=len(rows),
    )


def option(value: Any) -> tuple[str, str]:
    """Label and explanation of an option, which is a text or {label, description}."""
    if isinstance(value, dict):
        return str(value.get("label", "")), str(value.get("description", ""))
    return str(value), ""


def _question(view: View, q: Question) -> Element:
    name = f"answer-{q.id}"
    ident = f"q{q.id}"
    head = h(
        "div.row",
        h("b.s-you.c", q.agent),
        h("span.dim", clock(q.asked, seconds=False)),
        h("span.grow"),
        h(
            "span.badge.ttl",
            h("span", "◷", aria_hidden="true"),
            h("span.t", age(q.expires, down=True)),
            role="timer",
            data_hold=q.id,
        )
        if q.expires
        else None,
    )
    if view.view_only:
        return h("div.q.s-you", head, h("p.qt", q.text), id=ident)
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
        f"/questions/{q.id}/answer",
        head,
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
