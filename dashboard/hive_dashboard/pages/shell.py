"""The bar on top of every page: where one is, whether it lives, who one is."""

from __future__ import annotations

import time

from ..html import Child, Element, h
from .common import View, clock, form

PAGES = (
    ("swarm", "/swarm"),
    ("messages", "/messages"),
    ("audit", "/audit"),
    ("plan", "/plan"),
    ("sessions", "/sessions"),
    ("api", "/api"),
)


def bar(view: View, current: str, *tail: Child, ident: str | None = None) -> Element:
    """`current` is the name of the page; `tail` stands at the right end."""
    status = view.snapshot.status
    return h(
        "header.top",
        h(
            "a.logo",
            h("span", h("i", "⬢"), " HYPER", h("em", "H1VE"), aria_hidden="true"),
            h("span.sr", "hyperhive"),
            href="/swarm",
        ),
        h("span.dim.hide-m.el", status.runtime if status else ""),
        h(
            "nav.nav",
            [
                h("a", name, href=href, aria_current="page" if name == current else None)
                for name, href in PAGES
            ],
            aria_label="pages",
        ),
        h("span.grow"),
        live_badge() if current == "swarm" else None,
        jump(),
        zone(),
        h(
            "span.dim.hide-m.el.who",
            f"{view.user}{' (view only)' if view.view_only else ''}",
        ),
        tail,
        id=ident,
    )


def log_out() -> Element:
    return form("/logout", h("button.btn.sm.ghost", "log out", type="submit"), name="logout")


def jump() -> Element:
    """Scripts show it: without them there is nothing to open."""
    return h(
        "button.btn.sm.ghost",
        h("span", "⌕", h("span.hide-m", " jump to… "), h("kbd", "Ctrl K"), aria_hidden="true"),
        h("span.sr", "jump to"),
        type="button",
        data_jump_to=" ".join(f"{name} {href}" for name, href in PAGES),
        hidden=True,
    )


def zone() -> Element:
    return h(
        "button.btn.sm.ghost.hide-m",
        "zone",
        type="button",
        id="zone",
        title="switch between local time and UTC",
        hidden=True,
    )


def live_badge() -> Element:
    """Scripts say here how old the last sign of life is; without them it says the truth."""
    return h(
        "span.live.num.s-off",
        h("b", "ST4TIC", static=""),
        h("span.dim.hide-m", "loaded ", clock(time.time()), aria_hidden="true"),
        id="live",
        role="status",
        data_keep=True,
    )
