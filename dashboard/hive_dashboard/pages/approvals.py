"""◆ APPR0VALS: what would happen if I say yes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..html import Child, Element, h, leet
from ..live.mirror import Review, minute
from ..live.models import MOST_LINES, RISKS, Change, Effect, PlannedAction, Proposal
from ..text import one_line, plural
from .build import built
from .common import View, age, panel
from .decide import decide
from .diff import review, signs
from .tiles import tiles, value

IN_LIST = 400  # lines of diff in the list; the proposal's own page shows more
OPEN_AT_FIRST = 1
CARDS = 200  # proposals; of more, the oldest are a line each
FOLD = 6  # changed settings; of more, those of low risk are folded
_RISK = {"high": ("▲", "bad"), "medium": ("◆", "think"), "low": ("·", "idle")}


def approvals(view: View) -> Element:
    rows = view.snapshot.open
    keys: list[Child] = [
        h("kbd", "j"),
        " ",
        h("kbd", "k"),
        " move · ",
        h("kbd", "v"),
        " viewed · ",
        h("kbd", "a"),
        " approve · ",
        h("kbd", "d"),
        " deny ",
        h("button.btn.sm.ghost", "split", type="button", hidden=True, data_split=True),
        " ",
        h("button.btn.sm.ghost", "fold all", type="button", hidden=True, data_fold=True),
    ]
    cards = [_kept(view, row, opened=i < OPEN_AT_FIRST) for i, row in enumerate(rows[:CARDS])]
    rest = rows[CARDS:]
    return panel(
        "approvals",
        "ok",
        "◆",
        "APPR0VALS",
        "Approvals",
        h(
            "div.body.appl",
            cards or h("p.empty", "Nothing waits for your approval."),
            _rest(rest) if rest else None,
        ),
        count=len(rows),
        side=keys if rows else None,
    )


def _rest(rows: Sequence[Proposal]) -> Element:
    """The proposals without a card, a line each."""
    lines = [
        h(
            "a.line0",
            h("span.el", f"#{row.n} {one_line(row.description, 60) or row.kind}"),
            h("span.dim.el", row.requester),
            href=f"/proposals/{row.n}",
        )
        for row in rows
    ]
    words = f"▸ {plural(len(rows), 'more proposal')}"
    return h("details.rest", h("summary.more", words), h("div.lines", lines), id="rest-ap")


def _kept(view: View, row: Proposal, *, opened: bool) -> Child:
    """Its card: drawn once in a minute as long as the proposal stays as it is."""
    found = view.snapshot.details.get(row.n)
    if view.drafts or view.moved:
        return card(view, row, found, opened=opened)
    made_of = (row, found, opened, minute())
    return view.shelf.get(
        ("proposal", row.n, view.view_only), made_of, lambda: card(view, row, found, opened=opened)
    )


def card(
    view: View, row: Proposal, found: Review | None, *, opened: bool, own: bool = False
) -> Element:
    """One proposal, in the list or on its own page; `found` is None while its diff is not read
    yet."""
    limit = MOST_LINES if own else IN_LIST
    row = found.detail.proposal if found else row
    files = found.files if found else ()
    left_out = found.detail.diff_left_out if found else 0
    lines = found.detail.lines if found else 0
    totals = signs(sum(f.file.added for f in files), sum(f.file.removed for f in files))
    summary = h(
        "summary",
        h("span.s-ok.c", "◆", aria_hidden="true"),
        h("span.el", h("span.ti", f"#{row.n} {one_line(row.description, 120) or row.kind}")),
        h("span.r.dim.num.nw", f"{row.requester} → applied · ", totals, " · ", age(row.created)),
    )
    moved = view.moved.get(row.n)
    return h(
        "details.ap",
        summary,
        h(
            "div.in",
            h(
                "div.moved.s-think",
                h("b.c", "It changed since you looked. Look again, then decide:"),
                h("ul", [h("li", line) for line in moved]),
            )
            if moved
            else None,
            _chips(row, found),
            _shares_network(row.effect),
            h("p.say", h("span.dim", f"{row.requester} says: "), row.description)
            if len(row.description) > 120 or "\n" in row.description
            else None,
            tiles(row.effect, found.detail.build if found else None) if row.effect else None,
            _effect(row.n, row.effect, found)
            if row.effect
            else h("p.dim", "The effect is being worked out…"),
            built(found.detail.build) if found and found.detail.build else None,
            review(row.n, files, limit) if files else None,
            h(
                "p.warn.s-think",
                f"⚠ {plural(left_out, 'more file')}: ",
                h("a.c", "all of them", href=f"/proposals/{row.n}/whole?part=diff"),
            )
            if left_out
            else None,
            decide(view, row, found, apart=found is None or limit < min(lines, MOST_LINES))
            if row.state == "open" and not view.view_only
            else None,
        ),
        id=f"ap{row.n}",
        open=opened or moved is not None,
        data_nav="ap",
    )


def _chips(row: Proposal, found: Review | None) -> Element:
    hidden_chars = {name for f in (found.files if found else ()) for name in f.hidden}
    return h(
        "div.row.wrap",
        h("span.chip", row.kind),
        h("span.chip", "agent ", h("b.hi", row.agent)) if row.agent else None,
        h("span.chip.num", "commit ", h("b.hi", row.commit[:7])),
        h("span.chip.num", f"on {row.base[:7]} · ", "moved" if row.needs_rebase else "up to date")
        if row.base
        else None,
        h("span.chip.st.s-bad", "⚠ does not merge any more: its author must rebase it")
        if row.needs_rebase
        else None,
        [
            h("span.chip.st.s-bad", f"✕ {one_line(problem, 300)}")
            for problem in (found.detail.checks if found else ())
        ],
        h("span.chip.st.s-bad", f"⚠ hidden characters: {', '.join(sorted(hidden_chars)[:5])}")
        if hidden_chars
        else None,
        h("a.chip", "permalink", href=f"/proposals/{row.n}"),
    )


def _shares_network(effect: Effect | None) -> Element | None:
    """What a person must know who lets an agent have this machine's network."""
    changes = effect.changes if effect else ()
    names = [c.agent for c in changes if c.field == "network.mode" and c.after == "host"]
    if not names:
        return None
    return h(
        "p.warn.s-bad",
        f"⚠ {', '.join(str(name) for name in names)}: with this machine's own network an agent "
        "reaches what listens on 127.0.0.1, and can show pages under this machine's name, at any "
        "port that is free, also at this page's own while it is down. Open none of them in a "
        "browser that you use here.",
    )


def _effect(n: int, effect: Effect, found: Review | None) -> Element:
    """Changed settings, the riskiest first, and what the loop would do: by the effect alone,
    and as things stand where that differs."""
    changes = sorted(effect.changes, key=lambda c: RISKS.index(c.risk))
    first = [c for c in changes if c.risk != "low" or len(changes) <= FOLD]
    rest = changes[len(first) :]
    actions = [planned(action) for action in effect.actions]
    actions += [
        h(
            "li",
            f"… and {count} more to {kind}: ",
            h("a.c", "all of them", href=f"/proposals/{n}/whole?part=actions"),
        )
        for kind, count in effect.left_out.actions.items()
    ]
    return h(
        "div.sem",
        h(
            "div",
            h("h3", leet("EFF3CT", "Effect"), h("span.dim.num", f" {effect.digest[:12]}")),
            h("ul.risks", [setting(c) for c in first])
            if changes
            else h("p.dim", "no setting of an agent changes"),
            [
                h(
                    "p.s-think",
                    f"… and {count} more of {risk} risk: ",
                    h("a.c", "all of them", href=f"/proposals/{n}/whole"),
                )
                for risk, count in effect.left_out.changes.items()
            ],
            h(
                "details.fold",
                h("summary.more", f"▸ {len(rest)} of low risk"),
                h("ul.risks", [setting(c) for c in rest]),
            )
            if rest
            else None,
        ),
        h(
            "div",
            h("h3", leet("PL4N", "Planned actions")),
            h("ul.plan", actions) if actions else h("p.dim", "nothing is started or stopped"),
            _now(effect, found),
        ),
    )


def _now(effect: Effect, found: Review | None) -> Element | None:
    """What the loop would do as things stand now, where that is more or less."""
    plan = found.detail.plan if found and isinstance(found.detail.plan, dict) else None
    if plan is None:
        return None
    expected = {(a.kind, a.agent) for a in effect.actions}
    rows: list[Child] = [
        h("li", h("b.hi", f"{a.get('kind')} "), f"{a.get('agent')} ", h("span.dim", _why(a)))
        for a in plan.get("actions") or ()
        if a.get("kind") != "adopt"
        and (a.get("kind"), a.get("agent")) not in expected
        and not effect.left_out.actions  # else some of them may be among those
    ]
    rows += [
        h("li.s-think", h("b.c", f"not now: {b.get('agent')} {b.get('reason')} "), _why(b))
        for b in plan.get("blocked") or ()
    ]
    return h("div", h("h3", leet("N0W", "As things stand")), h("ul.plan", rows)) if rows else None


def _why(row: dict[str, Any]) -> str:
    return one_line(str(row.get("reason") if "kind" in row else row.get("message", "")), 200)


def planned(action: PlannedAction) -> Element:
    return h(
        "li",
        h("b.hi", action.kind),
        f" {action.agent or ''} ",
        h("span.dim", one_line(action.reason, 200)),
    )


def setting(c: Change) -> Element:
    glyph, kind = _RISK[c.risk]
    risk = h("span.c", glyph, " ", c.risk)
    where = ".".join(filter(None, [c.agent, c.field]))
    if not c.field or (c.text and c.field not in c.text.split()):
        return h(f"li.s-{kind}", risk, h("span.hi", one_line(c.text, 300) or where))
    values: Child = [
        [h("del", value(c.before)), " → "] if c.before is not None else None,
        h("ins", value(c.after)) if c.after is not None else h("i", "removed"),
    ]
    return h(f"li.s-{kind}", risk, h("span", h("b.hi", where), " ", values))
