"""Tiles: what a proposal does, at a glance."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..html import Element, h
from ..live.models import RISKS, Build, Change, Effect
from ..text import one_line, plural

_RISK = {"high": "bad", "medium": "think", "low": "idle"}
SELDOM = "TOOLS · REACH"  # shown only where it changes
# Each tile with the settings that it is about.
_SETTINGS = (
    ("NETWORK", ("network",)),
    ("LIMITS · BUDGET", ("limits", "budget")),
    (SELDOM, ("tools", "may_send_to", "role", "engine", "model")),
)
_DOES = {
    "create": "starts",
    "start": "starts",
    "update": "is updated",
    "rebuild": "is rebuilt",
    "restart": "restarts",
    "stop": "stops",
    "destroy": "is deleted",
}


def tiles(effect: Effect, build: Build | None) -> Element:
    rows = [_agents(effect)]
    for title, names in _SETTINGS:
        changes = [c for c in effect.changes if c.field.partition(".")[0] in names]
        if changes or title != SELDOM:
            rows.append(_settings(title, changes))
    rows.append(_system(effect, build))
    return h("div.tiles", rows)


def value(given: Any) -> str:
    """Of a setting, in few words."""
    if isinstance(given, str):
        return one_line(given, 120) or '""'
    if isinstance(given, list):
        return one_line(", ".join(map(str, given)) or "none", 160)
    if isinstance(given, bool):
        return "true" if given else "false"
    return one_line(str(given), 120)


def _tile(title: str, words: str, kind: str | None) -> Element:
    return h(
        "div",
        h("small", title),
        h("b", words) if kind else h("span.dim", words),
        class_=f"s-{kind}" if kind else None,
    )


def _agents(effect: Effect) -> Element:
    actions = [a for a in effect.actions if a.kind != "adopt"]
    if not actions:
        return _tile("AGENTS", "all go on", None)
    kinds = Counter(a.kind for a in actions) + Counter(effect.left_out.actions)
    kind = "bad" if kinds.keys() & {"destroy", "stop"} else "think"
    if kinds.total() == 1:
        words = f"{actions[0].agent} {_DOES.get(actions[0].kind, actions[0].kind)}"
    else:
        counts = Counter[str]()
        for what, n in kinds.items():
            counts[_DOES.get(what, what).removeprefix("is ")] += n
        words = ", ".join(f"{n} {what}" for what, n in counts.items())
    return _tile("AGENTS", words, kind)


def _settings(title: str, changes: list[Change]) -> Element:
    if not changes:
        return _tile(title, "no change", None)
    first = min(changes, key=lambda c: RISKS.index(c.risk))
    words = first.field.rpartition(".")[2]
    if first.before is not None or first.after is not None:
        before = f"{value(first.before)} → " if first.before is not None else ""
        words += f" {before}{value(first.after) if first.after is not None else 'removed'}"
    if len(changes) > 1:
        words += f" · {len(changes) - 1} more"
    return _tile(title, words, _RISK[first.risk])


def _system(effect: Effect, build: Build | None) -> Element:
    changed = [s for s in build.systems if s.changed] if build else []
    if changed:
        to_build, to_fetch = sum(s.to_build for s in changed), sum(s.to_fetch for s in changed)
        packages = sum(len(s.packages) for s in changed)
        words = f"{plural(packages, 'package')} · {to_build} to build, {to_fetch} to fetch"
        return _tile("SYSTEM", words, "think")
    if any(_is_for_nix(c) for c in effect.changes):
        return _tile("SYSTEM", "files for Nix change", "think")
    return _tile("SYSTEM", "no change", None)


def _is_for_nix(change: Change) -> bool:
    """Of an agent's files only those for Nix are of high risk."""
    of_agent = change.field.startswith("agents/") and change.risk == "high"
    return of_agent or change.field.endswith(".nix")
