"""What Nix makes of a proposal: packages and units that come, go, or change."""

from __future__ import annotations

from ..html import Element, h, leet
from ..live.models import Build, BuiltSystem, Difference
from ..text import one_line

_STATES = {
    "running": ("idle", "Nix evaluates it; it can be approved when that is done"),
    "ok": ("ok", "evaluated; nothing is built before you approve"),
    "not-built": ("think", "not built here"),
}
_MARKS = {"added": ("+", "ok"), "removed": ("-", "bad"), "changed": ("~", "think")}


def built(build: Build) -> Element:
    kind, words = _STATES.get(build.state, ("idle", build.state))
    if build.reason:
        words = f"{words}: {one_line(build.reason, 600)}"
    return h(
        "div.sem",
        h(
            "div",
            h("h3", leet("N1X", "Nix")),
            h("p", h(f"span.s-{kind}", h("span.c", words))),
            [_system(system) for system in build.systems],
            h("p.dim", f"{build.left_out} more systems were not evaluated")
            if build.left_out
            else None,
        ),
    )


def _system(system: BuiltSystem) -> Element:
    if not system.changed:
        return h("p", h("b.hi", system.container), h("span.dim", " stays the same system"))
    cost = f" {system.to_build} to build, {system.to_fetch} to fetch"
    lines = [_line(d, "") for d in system.packages] + [_line(d, "unit ") for d in system.units]
    return h(
        "div",
        h("p", h("b.hi", system.container), h("span.dim.num", cost)),
        h("ul.risks", lines) if lines else h("p.dim", "no package and no unit differs"),
    )


def _line(difference: Difference, what: str) -> Element:
    mark, kind = _MARKS[_change(difference)]
    versions = [v for v in (difference.before, difference.after) if v]
    text = f"{what}{difference.name} {' → '.join(versions)}"
    return h(f"li.s-{kind}", h("span.c", mark), h("span", one_line(text, 200)))


def _change(difference: Difference) -> str:
    if difference.change in _MARKS:
        return str(difference.change)
    if difference.before is None:
        return "added"
    return "removed" if difference.after is None else "changed"
