"""The page `/`: its sections, and how they stand together."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..html import Element, Kept, Verbatim, h, leet
from ..live.machine import Machine
from .agents import agents
from .approvals import approvals
from .boxes import boxes
from .common import AssetUrl, View, button, form, notices, page
from .decisions import latest
from .flow import dead, flow, inbox
from .kept import kept
from .need import away, count, need
from .questions import questions
from .shell import bar

Section = Callable[[View], Element]


def spawn(view: View) -> Element:
    """⊞ SPAWN: never drawn again, it holds what somebody types."""

    def field(name: str, label: str, placeholder: str, **attrs: Any) -> Element:
        return h(
            "label",
            label,
            h(
                "input",
                type="text",
                name=name,
                placeholder=placeholder,
                value=view.draft("spawn", name) or None,
                autocomplete="off",
                data_draft=True,
                **attrs,
            ),
        )

    body = form(
        "/spawn",
        field("name", "name", "a-z 0-9 -, up to 9", required=True, maxlength="9"),
        field("description", "description", "one line for people and agents"),
        h("label", "template", _templates(view)),
        h(
            "label.full",
            "role prompt",
            h(
                "textarea",
                Verbatim(view.draft("spawn", "prompt")),
                name="prompt",
                rows=2,
                placeholder="what is it for? kept as a draft until you send it",
                data_draft=True,
            ),
        ),
        h(
            "div.full.row.wrap",
            h("span.dim.grow", "makes a proposal: it starts when you approve it above"),
            button("⊞ SPAWN", "Spawn", "idle", key="Ctrl ⏎"),
        ),
        name="spawn",
        class_="spawn",
    )
    header = h(
        "header",
        h("h2", leet("⊞ SPAWN", "Spawn an agent"), id="h-spawn"),
        h("span.grow"),
        h("span.dim.hide-m", "a new container goes through approval, too"),
    )
    return h(
        "section.pan.s-idle", header, h("div.body", body), id="sec-spawn", aria_labelledby="h-spawn"
    )


def _templates(view: View) -> Element:
    """[templates] of hive.toml, and what is taken when none is chosen."""
    chosen = view.draft("spawn", "template")
    names = view.snapshot.status.templates if view.snapshot.status else ()
    options = [h("option", "worker, if you choose none", value="")]
    options += [h("option", name, value=name, selected=name == chosen) for name in names]
    return h("select", options, name="template", data_draft=True)


def top(view: View) -> Element:
    """The bar: live badge, who I am, FR33ZE."""
    known = [a.status for a in agents(view.snapshot) if a.status]
    frozen = bool(known) and all(status.paused for status in known)
    freeze = form(
        "/unpause" if frozen else "/pause",
        h(
            "button.btn.sm.st",
            leet(
                "▶ THAW" if frozen else "‖ FR33ZE",
                "Let turns go on" if frozen else "Freeze: pause all turns",
            ),
            class_="s-ok" if frozen else "s-bad",
            type="submit",
            title="pause every agent's turns; running turns end first",
            data_hold_press=not frozen,
        ),
        name="freeze",
    )
    return bar(view, "swarm", None if view.view_only else freeze, ident="sec-top")


def foot(view: View) -> Element:
    s = view.snapshot
    rows = agents(s)
    last = next(iter(s.closed), None)
    return h(
        "footer.foot.num",
        h("b", "[hive]"),
        h("span", f"{len(rows)} containers"),
        _machine(s.machine) if s.machine else None,
        h("span", "applied ", h("b", (s.status.applied or "none")[:7])) if s.status else None,
        h("span", "runtime ", h("b", s.status.runtime)) if s.status else None,
        h("span", "last decision ", h("b", f"#{last.n} {last.state}")) if last else None,
        h("span.grow"),
        h("span", h("kbd", "?"), " keys"),
        id="sec-foot",
    )


def _machine(m: Machine) -> list[Element]:
    full = m.disk_used > 0.9 * m.disk
    return [
        h("span", "load ", h("b", f"{m.load:.2f}")),
        h("span", "mem ", h("b", f"{m.used / 2**30:.1f}/{m.memory / 2**30:.0f}G")),
        h("span", "disk ", h("b.s-bad.c" if full else "b", f"{m.disk_used / m.disk:.0%}")),
    ]


def tabs(view: View) -> Element:
    """The bar at the foot of a phone."""
    n = count(view)
    rows = (
        ("▮", f"needs {n}" if n else "needs", "#sec-need"),
        ("▣", "agents", "#sec-boxes"),
        ("⇄", "flow", "#sec-flow"),
        ("⊞", "spawn", "#sec-spawn"),
    )
    return h(
        "nav.tabs",
        [
            h("a", h("b", glyph, aria_hidden="true"), h("span", word), href=href)
            for glyph, word, href in rows
        ],
        id="sec-tabs",
        aria_label="sections",
    )


LIVE: dict[str, Section] = {
    "top": top,
    "away": away,
    "need": need,
    "boxes": boxes,
    "approvals": approvals,
    "questions": questions,
    "flow": flow,
    "inbox": inbox,
    "dead": dead,
    "latest": latest,
    "kept": kept,
    "foot": foot,
    "tabs": tabs,
}


def sections(view: View) -> dict[str, Element | Kept]:
    """All of them; for views without something of their own drawn once a snapshot."""
    if view.drafts or view.moved:
        return {name: draw(view) for name, draw in LIVE.items()}
    made_of = (view.snapshot.version,)
    return {
        name: view.shelf.get((name, view.user, view.view_only), made_of, partial(draw, view))
        for name, draw in LIVE.items()
    }


def swarm_page(view: View, asset: AssetUrl, cursor: int | None) -> str:
    part = sections(view)
    left = [
        part["approvals"],
        None if view.view_only else spawn(view),
        part["latest"],
        part["kept"],
    ]
    right = [part["questions"], part["flow"], part["inbox"], part["dead"]]
    n = count(view)
    return page(
        asset,
        f"({n}) hyperhive" if n else "hyperhive",
        [
            h("a.skip", "skip to content", href="#main"),
            part["top"],
            h(
                "main.swarm",
                h("h1.sr", "Swarm"),
                notices(view),
                part["away"],
                part["need"],
                part["boxes"],
                h("div.lcol", left),
                h("div.rcol", right),
                id="main",
            ),
            part["foot"],
            part["tabs"],
        ],
        script="swarm.js",
        count=n,
        data={
            "page": "swarm",
            "cursor": "" if cursor is None else cursor,
            "now": f"{time.time():.3f}",
        },
    )
