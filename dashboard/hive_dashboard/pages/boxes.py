"""▣ C0NTAINERS: a card for each agent, and the last hour of all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from ..html import Child, Element, Kept, h
from ..live.lanes import HOUR, Span
from ..live.mirror import minute
from ..live.models import Condition
from ..text import clip, one_line, plural
from .agents import AgentView, agents
from .common import FULL, View, age, clock, count_text, gauge, panel

LANES = 12  # agents
CARDS = 18  # of more agents, those that matter now have a card and the others a line
_URGENT = ("bad", "you", "think", "idle", "off")
_LANE = {
    "thinking": "th",
    "starting": "th",
    "waiting": "yo",
    "needs-login": "yo",
    "failed": "ba",
    "idle": "id",
}


def boxes(view: View) -> Element:
    """▣ C0NTAINERS."""
    rows = agents(view.snapshot)
    bad = sum(row.kind == "bad" for row in rows)
    up = sum(bool(row.status and row.status.ready) for row in rows)
    words = f"{up} up" + (f" · {bad} failed" if bad else "")
    first = rows
    if len(rows) > CARDS:
        first = sorted(rows, key=lambda row: _URGENT.index(row.kind))[:CARDS]
        first.sort(key=rows.index)
    rest = [row for row in rows if row not in first]
    suspended = view.snapshot.status.suspended if view.snapshot.status else None
    return panel(
        "boxes",
        "idle",
        "▣",
        "C0NTAINERS",
        "Containers",
        h(
            "div.body",
            h("p.warn.s-think", f"‖ the loop is suspended: {suspended}") if suspended else None,
            h("div.boxes", [_kept(view, row) for row in first])
            if rows
            else h("p.empty", "No agent is known yet."),
            _rest(view, rest) if rest else None,
            _lanes(view.snapshot.lanes),
        ),
        side=[words, _day(view)],
    )


def _day(view: View) -> str:
    """What all of them used in the last day."""
    spent = view.snapshot.spent.values()
    turns, tokens = sum(s.turns for s in spent), sum(s.tokens for s in spent)
    if not turns:
        return ""
    usd = sum(s.usd for s in spent)
    return f" · 24 h: {plural(turns, 'turn')} · ${usd:.2f} · {count_text(tokens)} tok"


def _kept(view: View, row: AgentView) -> Kept:
    spent = view.snapshot.spent.get(row.uid or "")
    return view.shelf.get(
        ("agent", row.name), (row, spent, view.snapshot.at // 60), lambda: _box(view, row)
    )


def _box(view: View, row: AgentView) -> Element:
    host, status = row.host, row.status
    task = row.why or (host.description if host else "")
    notes = _notes(view, row)
    return (
        h(
            f"article.box.s-{row.kind}",
            h(
                "div.row",
                h("a.nm0.el", row.name, href=f"/a/{row.name}/"),
                row.badge(),
            ),
            h("div.task", clip(one_line(task), 160)),
            _context(view, row),
            [_trouble(c) for c in row.troubles if one_line(c.message) not in one_line(task)],
            h(
                "div.row.meta.num",
                h("span.el.grow", [[" · " if i else None, part] for i, part in enumerate(notes)]),
                h("a", "journal", href=f"/a/{row.name}/journal")
                if row.kind == "bad"
                else h("span.nw", _cost(view, row, short=len(notes) > 1)),
            ),
            id=f"box-{row.name}",
            data_state=row.state,
            title=one_line(host.description) if host and row.detail else None,
        )
        if status or host
        else h("article.box")
    )


def _rest(view: View, rows: Sequence[AgentView]) -> Element:
    """The agents without a card, a line each."""
    at = view.snapshot.at // 60
    lines = [view.shelf.get(("line", r.name), (r, at), partial(_line, r)) for r in rows]
    words = f"▸ {plural(len(rows), 'more agent')}"
    return h("details.rest", h("summary.more", words), h("div.lines", lines), id="rest")


def _line(row: AgentView) -> Element:
    name = h("span.el", row.name)
    return h("a.line0", name, row.badge(), href=f"/a/{row.name}/", id=f"box-{row.name}")


def _context(view: View, row: AgentView) -> Element | None:
    spent = view.snapshot.spent.get(row.uid or "")
    if spent is None or spent.filled is None:
        return None
    return gauge(spent.filled, f"context {spent.filled:.0%} full")


def _trouble(c: Condition) -> Element:
    label = c.type if c.holds or c.type not in ("Ready", "Healthy") else f"not {c.type}"
    return h(
        "div.cond.s-bad" if c.type == "Stalled" else "div.cond.s-think",
        h("span.c", f"{label}/{c.reason}" if c.reason else label),
        " ",
        one_line(c.message, 300),
        " ",
        age(c.since) if c.since else None,
    )


def _cost(view: View, row: AgentView, *, short: bool) -> str:
    """What it used in the last day."""
    spent = view.snapshot.spent.get(row.uid or "")
    if spent is None:
        return ""
    usd = f"${spent.usd:.2f}"
    return usd if short else f"{plural(spent.turns, 'turn')} · {usd}"


def _notes(view: View, row: AgentView) -> list[Child]:
    """How full its conversation is, and what is not as it should be for ever."""
    host, status = row.host, row.status
    spent = view.snapshot.spent.get(row.uid or "")
    filled = spent.filled if spent else None
    found: list[Child] = []
    if filled is not None:
        found.append(
            h("span", "ctx ", h("b.s-bad.c" if filled >= FULL else "span", f"{filled:.0%}"))
        )
    elif host:
        found.append(host.engine)
    if host and host.running_revision and not host.in_sync:
        found.append("update pending")
    if status:
        if status.until and row.state == "rate-limited":
            found.append(f"until {_at(status.until)}")
        found += [
            f"{status.queued} queued" if status.queued else None,
            plural(status.dead, "dead letter") if status.dead else None,
            "held" if status.held else None,
            "fenced" if status.fenced else None,
        ]
    return [part for part in found if part]


def _at(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M UTC")


def _lanes(lanes: dict[str, tuple[Span, ...]]) -> Element | None:
    """A bar for each agent: what it did in the last hour, the busiest first."""
    if not lanes:
        return None
    start = minute() - HOUR
    busiest = sorted(lanes, key=lambda name: -len(lanes[name]))[:LANES]
    marks = [h("span", clock(start + HOUR * part / 4, seconds=False)) for part in range(4)]
    return h(
        "div.lanes",
        [(h("span.el", name), _lane(name, lanes[name], start)) for name in busiest],
        h("span"),
        h("div.between.num", marks, h("span", "now")),
        id="lanes",
    )


def _lane(name: str, spans: Sequence[Span], start: float) -> Element:
    rects = [
        h(
            "rect",
            x=round(span.start - start),
            y=0,
            width=max(4, round(span.end - span.start)),
            height=9,
            class_=_LANE.get(span.state, "of"),
        )
        for span in spans
    ]
    last = spans[-1].state
    return h(
        "svg.lane",
        rects,
        viewBox=f"0 0 {HOUR:.0f} 9",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"{name}: {len(spans)} states in the last hour, now {last}",
    )
