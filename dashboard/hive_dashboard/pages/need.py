"""▮ N33DS Y0U: all that waits for a person, on top; and which process is away."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..html import Child, Element, h, leet
from ..live.mirror import Snapshot
from ..live.models import BrokerCondition, Proposal, Question
from ..text import one_line, plural
from .agents import AgentView, agents
from .common import View, age, button, form
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
    "kept": "kept state",
    "late": "late questions",
    "turns": "what turns cost",
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
            h("span", " for ", age(since), aria_hidden="true"),  # no alert each second
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


SOON = 600.0  # seconds: a question that ends sooner goes before all but what stops the swarm


@dataclass(frozen=True)
class Need:
    """One thing that waits for a person. `until` is when it is over, `since` when it began, in
    unix seconds; `whole`: the words say what to do, all of them are shown."""

    kind: str  # colour
    glyph: str
    href: str
    title: str
    words: str = ""
    until: float | None = None
    since: float | None = None
    whole: bool = False
    undamps: bool = False


def count(view: View) -> int:
    """How many things wait for a person."""
    return waiting(view.snapshot)


def waiting(s: Snapshot) -> int:
    """How many things wait for a person."""
    return (
        sum(q.state == "open" for q in s.questions)
        + s.questions_behind
        + len(s.open)
        + len(s.dead)
        + s.dead_behind
        + len(_stops(s))
        + sum(a.kind == "bad" or a.state == "needs-login" for a in agents(s))
    )


def needs(s: Snapshot, now: float) -> list[Need]:
    """All that waits for a person, what cannot wait first."""
    asks = _asks([q for q in s.questions if q.state == "open"], s.questions_behind)
    soon = [n for n in asks if n.until is not None and n.until - now < SOON]
    rest = [n for n in asks if n not in soon]
    failures = [_failure(a) for a in agents(s) if a.kind == "bad"]
    logins = [_login(a) for a in agents(s) if a.state == "needs-login"]
    return [*_stops(s), *soon, *failures, *rest, *_merges(s.open), *logins, *_dead(s)]


def need(view: View) -> Element:
    rows, numbers = needs(view.snapshot, time.time()), itertools.count(1)
    return h(
        "section.need",
        h("span.lead", h("span.blink", "▮", aria_hidden="true"), leet("N33DS Y0U", "Needs you")),
        [_card(view, row, numbers) for row in rows] or _nothing(view.snapshot),
        id="sec-need",
        aria_label="Needs you",
        data_count=count(view),
    )


# Where it is read from what waits for a person.
_WAITING = frozenset({"status", "open", "agents", "questions", "dead", "conditions"})


def _nothing(s: Snapshot) -> Element:
    """Calm, or nobody can tell: what is away or was not read may need somebody."""
    if s.away or s.unread.keys() & _WAITING:
        kind, glyph, words, more = (
            "think",
            "·",
            "nothing known needs you",
            "not all can be seen now",
        )
    else:
        kind, glyph, words, more = "ok", "✓", "nothing needs you", "the swarm is on its own"
    return h(
        f"p.nd.s-{kind}",
        h("span.g", glyph, aria_hidden="true"),
        h("span.grow", h("b", words), h("small", more)),
    )


def _card(view: View, row: Need, numbers: Iterator[int]) -> Element:
    """`numbers` are the keys that jump to what can be jumped to."""
    gap = " · " if row.words else ""
    small: list[Child] = []
    if row.until:
        small += [h("span.hi", age(row.until, down=True)), f" left{gap}"]
    small.append(one_line(row.words, 600))
    if row.since:
        small += [gap, age(row.since)]
    body: list[Child] = [
        h("span.g", row.glyph, aria_hidden="true"),
        h("span.grow", h("b", row.title), h("small", small)),
    ]
    if not row.whole:
        i = next(numbers)
        key = h("kbd", i, aria_hidden="true") if i < 10 else None
        return h(f"a.nd.s-{row.kind}", body, key, href=row.href, data_jump=i)
    anew = form("/undamp", button("↻ 4N3W", "Begin anew", "idle", small=True), name="undamp")
    return h(
        f"div.nd.whole.s-{row.kind}", body, anew if row.undamps and not view.view_only else None
    )


def _stops(s: Snapshot) -> list[Need]:
    """What keeps the loop or the broker from its work."""
    found = [_condition(c) for c in s.conditions]
    status = s.status
    if status is not None and status.stale and status.at:
        found.insert(
            0, Need("bad", "⚠", "/plan", "the loop stands still", status.stale, whole=True)
        )
    if s.failed_logins:
        count, since = s.failed_logins
        words = "somebody tries codes of login links; who has a link gets in all the same"
        found.append(
            Need("bad", "⚠", "/sessions", f"{count} failed logins", words, since=since, whole=True)
        )
    return found


def _condition(c: BrokerCondition) -> Need:
    return Need(
        "bad",
        "⚠",
        "#sec-need",
        f"broker: {c.type}",
        c.message,
        since=c.since or None,
        whole=True,
        undamps=bool(c.agents),
    )


def _asks(rows: list[Question], behind: int) -> list[Need]:
    if not rows:
        return []
    first = min(rows, key=lambda q: q.expires or float("inf"))
    title = (
        f"{first.agent} wants to use {one_line(first.permission.tool, 60)}"
        if first.permission
        else f"{first.agent} asks: {one_line(first.text, 120)}"
    )
    words = plural(len(rows) + behind, "question")
    if not first.expires and first.options:
        words += " · " + one_line(", ".join(option(o)[0] for o in first.options), 80)
    return [Need("you", "?", f"#f-answer-{first.id}", title, words, until=first.expires)]


def _merges(rows: tuple[Proposal, ...]) -> list[Need]:
    if not rows:
        return []
    first = rows[0]
    risky = [c for c in (first.effect.changes if first.effect else ()) if c.risk == "high"]
    words = f"#{first.n} {first.requester} · "
    words += one_line(risky[0].text if risky else first.description, 120)
    title = f"{plural(len(rows), 'merge')} to approve"
    return [Need("ok", "◆", f"#ap{first.n}", title, words)]


def _failure(a: AgentView) -> Need:
    return Need(
        "bad", "✕", f"#box-{a.name}", f"{a.name}: {a.word}", one_line(a.why, 120), since=a.since
    )


def _login(a: AgentView) -> Need:
    return Need("you", "↪", f"/a/{a.name}/", f"{a.name} needs a login", one_line(a.detail, 120))


def _dead(s: Snapshot) -> list[Need]:
    if not s.dead:
        return []
    first = s.dead[0]
    words = f"{first.agent}: {one_line(first.cause, 80)}"
    title = plural(len(s.dead) + s.dead_behind, "dead letter")
    return [Need("bad", "✝", "#sec-dead", title, words)]
