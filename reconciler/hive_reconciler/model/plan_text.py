"""A plan as text for people, in the marks that Terraform made known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .plan import MARKS, Kind


def plan_text(plan: Mapping[str, Any]) -> str:
    """The text of a plan as `Plan.as_json` gives it: one line an action, one reason a line."""
    changes = [a for a in plan["actions"] if a["kind"] != Kind.ADOPT.value]
    approved = [a for a in changes if not a["drift"]]
    drift = [a for a in changes if a["drift"]]
    parts: list[str] = []
    if approved:
        parts.append(_section("Approved changes:", approved))
    if drift:
        parts.append(_section("Drift (nobody approved it; the loop puts it back):", drift))
    if plan["blocked"]:
        lines = ["Not now:"]
        lines += [f"  ! {b['agent']}: {b['reason']}: {b['message']}" for b in plan["blocked"]]
        parts.append("\n".join(lines))
    if plan["left_out"]:
        parts.append(f"{plan['left_out']} more are not shown here: they are too many.")
    parts.append(_count(changes, plan["commit"]))
    return "\n\n".join(parts)


def _section(title: str, actions: Sequence[Mapping[str, Any]]) -> str:
    lines = [title]
    for action in actions:
        mark = MARKS[Kind(action["kind"])]
        lines.append(f"  {mark:>3} {action['agent']} ({action['kind']} {action['container']})")
        lines.append(f"        {action['reason']}")
    return "\n".join(lines)


def _count(changes: Sequence[Mapping[str, Any]], commit: str) -> str:
    if not changes:
        return f"Nothing to do: the containers match {commit[:12]}."
    counts = {kind: sum(a["kind"] == kind.value for a in changes) for kind in Kind}
    words = ", ".join(f"{count} to {kind.value}" for kind, count in counts.items() if count)
    return f"Plan for {commit[:12]}: {words}."
