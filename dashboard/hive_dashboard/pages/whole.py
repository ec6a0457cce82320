"""A page of all that a proposal changes, where its card shows only as much as fits."""

from __future__ import annotations

from ..html import Child, h, leet
from ..live.whole import PARTS, PartPage
from .approvals import planned, setting
from .common import AssetUrl, View, notices, page
from .diff import review
from .need import away
from .shell import bar, log_out

_TITLES = {"changes": "settings", "actions": "planned actions", "diff": "files"}
_ALL = 1 << 30  # lines


def whole_page(view: View, asset: AssetUrl, found: PartPage) -> str:
    rows: Child = {
        "changes": lambda: h("ul.risks", [setting(change) for change in found.changes]),
        "actions": lambda: h("ul.plan", [planned(action) for action in found.actions]),
        "diff": lambda: review(found.n, found.files, _ALL),
    }[found.part]()
    count = len(found.changes) + len(found.actions) + len(found.files)
    tabs = [
        h("a.chip", _TITLES[part], href=_address(found.n, part, 0), aria_current=part == found.part)
        for part in PARTS
    ]
    title = f"#{found.n}: all {_TITLES[found.part]}"
    body = h(
        "main.plainpage",
        notices(view),
        away(view),
        h(
            "section.pan.s-idle",
            h("header", h("h1", leet(f"◆ #{found.n} WH0LE", title))),
            h(
                "div.body.col",
                h("p.row.wrap", tabs, h("a.chip", "its card", href=f"/proposals/{found.n}")),
                h(
                    "p.dim.num",
                    f"{found.after + 1} to {found.after + count}, effect {found.digest[:12]}",
                )
                if count
                else h("p.dim", "nothing"),
                rows,
                h("a.btn", "▸ next", href=_address(found.n, found.part, found.next))
                if found.next is not None
                else h("p.dim", "nothing comes behind"),
            ),
        ),
        id="main",
    )
    bars = bar(view, "proposal", log_out())
    return page(asset, f"{title} · hyperhive", [bars, body], script="plain.js")


def _address(n: int, part: str, after: int) -> str:
    return f"/proposals/{n}/whole?part={part}&after={after}"
