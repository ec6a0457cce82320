"""What a person says to a proposal: yes to what is shown, no, or change it."""

from __future__ import annotations

from ..html import Element, Verbatim, h, leet
from ..live.mirror import Review
from ..live.models import Proposal
from ..text import plural
from .common import View, button, form, hidden


def decide(view: View, row: Proposal, found: Review | None, *, apart: bool) -> Element:
    """`apart`: its lines are not all on this page, so that the yes is given on its own one."""
    hindered = row.needs_rebase or (found is not None and found.detail.hindered)
    risky = row.effect is not None and row.effect.is_risky
    approve = (
        form(
            view.action(f"/proposals/{row.n}/approve"),
            hidden("effect", row.effect.digest),
            _guard(view, row, found),
            _looked(row.n, found),
            button(
                "◆ APPR0VE", "Approve", "ok", h("span.num", row.commit[:7]), primary=True, key="a"
            ),
            name=f"approve-{row.n}",
            class_="row wrap",
            data_risky=risky,
        )
        if row.effect and found is not None and not apart and not hindered
        else None
    )
    return h(
        "div.act",
        approve,
        h("a.btn.st.s-ok", leet("◆ L00K AT 1T…", "Look at it"), href=f"/proposals/{row.n}")
        if apart
        else None,
        _words(view, row, "changes") if row.from_agent else None,
        _words(view, row, "deny"),
        h("span.dim.grow.r.unviewed", data_unviewed=row.n),
    )


def _looked(n: int, found: Review) -> Element | None:
    """Scripts ask twice where a file was not viewed; without them this box does, and always where
    the card has no room for all of it."""
    if found.detail.is_short:
        box = h("input", type="checkbox", name="looked", value="true", required=True)
        link = h("a.c", "all of it", href=f"/proposals/{n}/whole")
        return h("label.row", box, h("span", "I looked at ", link))
    if not found.files:
        return None
    box = h("input", type="checkbox", required=True)
    return h("noscript", h("label.row", box, f"I looked at {plural(len(found.files), 'file')}"))


def _guard(view: View, row: Proposal, found: Review | None) -> Element | None:
    """Where agents would be deleted: their number, to be typed; over the guard it must be."""
    deletions = row.effect.deletions if row.effect else 0
    if not deletions:
        return None
    over = found is not None and found.detail.is_over_the_guard
    return h(
        "label.row",
        h(
            "span.s-bad.c",
            f"⚠ deletes {plural(deletions, 'agent')}: type the number",
            " (the prune guard asks for it)" if over else None,
        ),
        h(
            "input.short",
            type="text",
            inputmode="numeric",
            name="allow_prune",
            value=view.draft(f"approve-{row.n}", "allow_prune"),
            required=over,
            autocomplete="off",
        ),
    )


_VERBS = {
    "changes": ("↩ CH4NGES", "Ask for changes", "think", "c", "what should be different?"),
    "deny": ("✕ D3NY", "Deny", "bad", "d", "why not?"),
}


def _words(view: View, row: Proposal, verb: str) -> Element:
    """A fold with a text and a button: to deny, or to ask for changes."""
    name = f"{verb}-{row.n}"
    label, words, kind, key, asks = _VERBS[verb]
    return h(
        f"details.deny.{verb}",
        h(
            f"summary.btn.st.s-{kind}",
            leet(f"{label}…", words),
            h("kbd", key, aria_hidden="true"),
            data_key=key,
        ),
        form(
            view.action(f"/proposals/{row.n}/{verb}"),
            h(
                "textarea",
                Verbatim(view.draft(name, "reason")),
                name="reason",
                rows=2,
                required=True,
                placeholder=f"{asks} {row.requester} reads this",
                aria_label=f"{words.lower()}: #{row.n}, {asks}",
                data_draft=True,
            ),
            button(label, words, kind, primary=True),
            name=name,
            class_="row wrap",
        ),
        id=name,
        open=bool(view.drafts.get(name)),
    )
