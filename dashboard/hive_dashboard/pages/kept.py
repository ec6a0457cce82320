"""⌂ K3PT ST4T3: agents that are retired, and what is still there of them."""

from __future__ import annotations

from ..html import Element, h, leet
from ..live.models import Retired
from ..text import one_line
from .common import View, age, button, form, hidden, panel


def kept(view: View) -> Element:
    """An empty hidden section when nothing is kept."""
    rows = view.snapshot.kept
    if not rows:
        return h("section", id="sec-kept", hidden=True)
    return panel(
        "kept",
        "off",
        "⌂",
        "K3PT ST4T3",
        "Kept state",
        h("div.dec", [_row(view, row) for row in rows]),
        side="retired agents keep their files until they are purged",
    )


def _row(view: View, row: Retired) -> Element:
    return h(
        "div.de",
        h("span.mut.num", age(row.at) if row.at else ""),
        h("b.hi", row.name),
        h("span.el.dim", one_line(row.description, 120)),
        None if view.view_only else h("div.row.wrap", _revive(row), _purge(view, row)),
        id=f"kept-{row.uid}",
    )


def _revive(row: Retired) -> Element:
    return form(
        f"/kept/{row.name}/revive",
        button("↺ R3VIVE", f"Propose {row.name} again", "ok", small=True),
        name=f"revive-{row.name}",
    )


def _purge(view: View, row: Retired) -> Element:
    """Wants the name typed: nothing brings it back."""
    name = f"purge-{row.name}"
    return h(
        "details.reply",
        h("summary", leet("✕ PURG3…", f"Remove what is kept of {row.name}")),
        form(
            f"/kept/{row.name}/purge",
            hidden("uid", row.uid),
            h(
                "label.dim",
                f"type {row.name}: its files and session go for good ",
                h(
                    "input.short",
                    type="text",
                    name="confirm",
                    value=view.draft(name, "confirm") or None,
                    required=True,
                    autocomplete="off",
                ),
            ),
            button("✕ PURG3", f"Remove what is kept of {row.name}", "bad", small=True),
            name=name,
            class_="row wrap",
        ),
        id=f"d-purge-{row.uid}",
        open=bool(view.drafts.get(name)),
    )
