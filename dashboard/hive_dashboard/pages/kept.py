"""⌂ K3PT ST4T3: agents that are retired, and what is still there of them."""

from __future__ import annotations

from ..html import Element, h
from ..live.models import Retired
from ..text import one_line
from .common import View, age, button, form, panel


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
    revive = (
        form(
            f"/kept/{row.name}/revive",
            button("↺ R3VIVE", f"Propose {row.name} again", "ok", small=True),
            name=f"revive-{row.name}",
        )
        if not view.view_only
        else None
    )
    return h(
        "div.de",
        h("span.mut.num", age(row.at) if row.at else ""),
        h("b.hi", row.name),
        h("span.el.dim", one_line(row.description, 120)),
        revive,
        id=f"kept-{row.uid}",
    )
