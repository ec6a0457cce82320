"""◷ L4TEST: how proposals ended, what can be taken back, which questions ran out of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ..html import Child, Element, Verbatim, h, leet
from ..live.models import Proposal, Question
from ..text import one_line
from .common import AssetUrl, View, button, clock, form, notices, page, panel
from .need import away
from .questions import option
from .shell import bar, log_out

_ENDED = {
    "merged": ("◆", "ok"),
    "open": ("◇", "idle"),
    "denied": ("✕", "bad"),
    "rejected": ("✕", "bad"),
    "withdrawn": ("○", "off"),
    "expired": ("◷", "think"),
    "superseded": ("○", "off"),
}


def latest(view: View) -> Element:
    rows: list[Child] = [_late(view, q) for q in reversed(view.snapshot.late)]
    rows += [_ended(view, row) for row in view.snapshot.closed]
    return panel(
        "latest",
        "off",
        "◷",
        "L4TEST",
        "Latest decisions",
        h("div.dec.num", rows) if rows else h("p.empty.pad", "Nothing was decided yet."),
        side=h("a", "audit log", href="/audit"),
    )


def _ended(view: View, row: Proposal) -> Element:
    glyph, kind = _ENDED.get(row.state, ("·", "off"))
    who = row.by or ""
    back = (
        form(
            f"/proposals/{row.n}/revert",
            button("↶ R3VERT", f"Propose to revert #{row.n}", "think", small=True),
            name=f"revert-{row.n}",
        )
        if row.state == "merged" and not view.view_only
        else None
    )
    return h(
        "div.de",
        h("span.mut", clock(row.ended or row.created, seconds=False)),
        h(f"a.s-{kind}", h("span.c", f"{glyph} #{row.n}"), href=f"/proposals/{row.n}"),
        h(
            "span.el",
            f"{row.state} ",
            h("span.hi", one_line(row.description, 100) or row.kind),
            h(
                "span.dim",
                f" · {who}" if who else "",
                f" — “{one_line(row.reason, 140)}”" if row.reason else "",
            ),
        ),
        back,
        id=f"dec-{row.n}",
    )


def _late(view: View, q: Question) -> Element:
    """An expired question; the answer still arrives."""
    name = f"answer-{q.id}"
    rows: list[Child] = [
        h(
            "label.opt",
            h("input", type="checkbox" if q.multi else "radio", name="choice", value=label),
            h("span", label),
        )
        for label, _ in map(option, q.options)
    ]
    late = h(
        "details.reply",
        h("summary", leet("◷ 4NSWER L4TE", f"Answer {q.agent} late")),
        form(
            f"/questions/{q.id}/answer",
            h("p.say.hi", q.text),
            rows,
            h(
                "textarea",
                Verbatim(view.draft(name, "text")),
                name="text",
                rows=2,
                aria_label=f"late answer to {q.agent}",
                data_draft=True,
            ),
            button("➤ ANSW3R", "Answer", "you"),
            name=name,
            class_="col",
        ),
        id=f"late-{q.id}",
        open=bool(view.drafts.get(name)),
    )
    return h(
        "div.de.lateq",
        h("span.mut", clock(q.expires or q.asked, seconds=False)),
        h("span.s-think.c", f"◷ q{q.id}"),
        h("span.el", "expired ", h("span.hi", f"{q.agent}: {one_line(q.text, 100)}")),
        late if not view.view_only else None,
        id=f"dec-q{q.id}",
    )


def audit_page(view: View, asset: AssetUrl, rows: Sequence[Proposal], *, is_cut: bool) -> str:
    """Decisions, as the refs of hive.git have them, the newest first, a page at a time."""
    older = h("a.btn", "▸ older", href=f"/audit?before={rows[-1].n}") if rows and is_cut else None
    lines = [_line(row) for row in rows]
    heads = ("asked", "ended", "proposal", "agent", "by", "state", "decided by", "deployed")
    table = h(
        "table.num",
        h("thead", h("tr", [h("th", t, scope="col") for t in heads])),
        h("tbody", lines),
    )
    return page(
        asset,
        "audit · hyperhive",
        [
            bar(view, "audit", log_out()),
            h(
                "main.plainpage",
                notices(view),
                away(view),
                h(
                    "section.pan.s-off",
                    h("header", h("h1", leet("◷ AUD1T", "Audit log"))),
                    h(
                        "div.body",
                        h(
                            "p.dim",
                            "The newest first, UTC. The record itself is the history of ",
                            h("code", "applied"),
                            "; ",
                            h("code", "hive verify"),
                            " recomputes each merge.",
                        ),
                        h("div.scroll", table, tabindex=0, role="region", aria_label="decisions")
                        if lines
                        else h("p.empty", "There is no decision here."),
                        older,
                    ),
                ),
                id="main",
            ),
        ],
        script="plain.js",
    )


def _line(row: Proposal) -> Element:
    glyph, kind = _ENDED.get(row.state, ("·", "off"))
    return h(
        "tr",
        h("td.nw", _day(row.created)),
        h("td.nw", _day(row.ended) if row.ended else ""),
        h(
            "td",
            h("a.hi", f"#{row.n}", href=f"/proposals/{row.n}"),
            f" {one_line(row.description, 120) or row.kind}",
        ),
        h("td", row.agent or ""),
        h("td", row.requester),
        h(f"td.s-{kind}", h("span.c", f"{glyph} {row.state}")),
        h("td", row.by or "", h("div.dim", one_line(row.reason, 200)) if row.reason else None),
        h("td.dim", one_line(row.deployed or "", 120)),
    )


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
