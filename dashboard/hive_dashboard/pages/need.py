"""▮ N33DS Y0U: all that waits for a person, on top; and which process is away."""

from __future__ import annotations

from ..html import Child, Element, h, leet
from ..live.mirror import Snapshot
from ..text import one_line
from .agents import agents
from .common import View, age, button, form, plural
from .questions import option

_PARTS = {
    "status": "the agents' containers",
    "open": "open proposals",
    "closed": "decisions",
    "agents": "the agents' states",
    "questions": "questions",
    "messages": "messages",
    "inbox": "the inbox",
    "dead": "dead letters",
    "conditions": "the broker's conditions",
    "past": "the last hour",
}


def away(view: View) -> Element:
    """Which process is away, and what that means here."""
    meaning = {
        "reconciler": "containers and proposals are shown as they were, and nothing can be "
        "approved, spawned or stopped",
        "broker": "messages, questions and states are shown as they were, and nothing can be "
        "sent or answered",
    }
    rows = [
        h(
            "p.warn.s-bad",
            h("b.c", f"✕ the {name} is away"),
            " for ",
            age(since),
            ": ",
            meaning.get(name, ""),
        )
        for name, since in sorted(view.snapshot.away.items())
    ]
    rows += [
        h("p.warn.s-think", f"⚠ {_PARTS.get(part, part)} may be old: {why}")
        for part, why in sorted(view.snapshot.unread.items())
    ]
    return h("div.away", rows, id="sec-away", role="alert")


def count(view: View) -> int:
    """How many things wait for a person."""
    return waiting(view.snapshot)


def waiting(s: Snapshot) -> int:
    """How many things wait for a person."""
    return (
        sum(q.state == "open" for q in s.questions)
        + len(s.open)
        + len(s.dead)
        + len(s.conditions)
        + sum(a.kind == "bad" for a in agents(s))
        + sum(a.state == "needs-login" for a in agents(s))
    )


def need(view: View) -> Element:
    cards = [*_asks(view), *_merges(view), *_failures(view), *_dead(view)]
    return h(
        "section.need",
        h("span.lead", h("span.blink", "▮", aria_hidden="true"), leet("N33DS Y0U", "Needs you")),
        [*(_numbered(i, c) for i, c in enumerate(cards, 1)), *_conditions(view)]
        or h(
            "p.nd.s-ok",
            h("span.g", "✓", aria_hidden="true"),
            h("span.grow", h("b", "nothing needs you"), h("small", "the swarm is on its own")),
        ),
        id="sec-need",
        aria_label="Needs you",
        data_count=count(view),
    )


Card = tuple[str, str, str, str, Child]  # kind, glyph, href, title, small print


def _numbered(i: int, card: Card) -> Element:
    kind, glyph, href, title, small = card
    return h(
        f"a.nd.s-{kind}",
        h("span.g", glyph, aria_hidden="true"),
        h("span.grow", h("b.el", title), h("small.el", small)),
        h("kbd", i, aria_hidden="true") if i < 10 else None,
        href=href,
        data_jump=i,
    )


def _asks(view: View) -> list[Card]:
    rows = [q for q in view.snapshot.questions if q.state == "open"]
    if not rows:
        return []
    first = min(rows, key=lambda q: q.expires or float("inf"))
    small: list[Child] = [plural(len(rows), "question")]
    if first.expires:
        small += [" · next expires in ", h("span.hi", age(first.expires, down=True))]
    elif first.options:
        small.append(" · " + one_line(", ".join(option(o)[0] for o in first.options), 80))
    return [
        (
            "you",
            "?",
            f"#f-answer-{first.id}",
            f"{first.agent} wants to use {one_line(first.permission.tool, 60)}"
            if first.permission
            else f"{first.agent} asks: {one_line(first.text, 80)}",
            small,
        )
    ]


def _merges(view: View) -> list[Card]:
    rows = view.snapshot.open
    if not rows:
        return []
    first = rows[0]
    risky = [c for c in (first.effect.changes if first.effect else ()) if c.risk == "high"]
    small = f"#{first.n} {first.requester}"
    small += (
        f" · {one_line(risky[0].text, 80)}" if risky else f" · {one_line(first.description, 80)}"
    )
    return [("ok", "◆", f"#ap{first.n}", f"{plural(len(rows), 'merge')} to approve", small)]


def _failures(view: View) -> list[Card]:
    cards: list[Card] = []
    for a in agents(view.snapshot):
        if a.kind == "bad":
            cards.append(
                (
                    "bad",
                    "✕",
                    f"#box-{a.name}",
                    f"{a.name}: {a.word}",
                    [one_line(a.detail, 90), " · ", age(a.since)]
                    if a.since
                    else one_line(a.detail, 90),
                )
            )
        elif a.state == "needs-login":
            cards.append(
                ("you", "⚿", f"/a/{a.name}/", f"{a.name} needs a login", one_line(a.detail, 90))
            )
    return cards


def _conditions(view: View) -> list[Element]:
    """What is wrong with the broker, whole: it says what to do."""
    return [
        h(
            "div.nd.s-bad",
            h("span.g", "⚠", aria_hidden="true"),
            h(
                "span.grow",
                h("b", f"broker: {c.type}"),
                h("small", one_line(c.message, 600), " · ", age(c.since)),
            ),
            form("/undamp", button("↻ 4N3W", "Begin anew", "idle", small=True), name="undamp")
            if c.agents and not view.view_only
            else None,
            id=f"cond-{c.type}",
        )
        for c in view.snapshot.conditions
    ]


def _dead(view: View) -> list[Card]:
    rows = view.snapshot.dead
    if not rows:
        return []
    return [
        (
            "bad",
            "✝",
            "#sec-dead",
            plural(len(rows), "dead letter"),
            f"{rows[0].agent}: {one_line(rows[0].cause, 80)}",
        )
    ]
