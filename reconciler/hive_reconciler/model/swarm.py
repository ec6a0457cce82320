"""What must hold for all agents together after a merge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hive_wire.hivetoml import Policy
from hive_wire.spec import AgentSpec, parse_size

from .checks import Problem
from .desired import Entry, Invalid, Unreadable, Valid


def swarm_problems(
    before: Mapping[str, Entry], after: Mapping[str, Entry], touched: Iterable[str], policy: Policy
) -> list[Problem]:
    """Contradictions of the merged tree. `touched` are the agents whose settings may differ."""
    found: list[Problem] = []
    for name in sorted(touched):
        entry = after.get(name)
        if entry is None:
            continue
        found += _entry(name, before.get(name), entry, policy)
    return found + _managers(before, after) + _uids(after)


def policy_problems(name: str, spec: AgentSpec, policy: Policy) -> list[Problem]:
    """Bounds of hive.toml, as they are before the merge."""
    path = f"agents/{name}/agent.toml"
    found = []
    if spec.limits.memory_bytes > parse_size(policy.max_memory):
        found.append(f"limits.memory = {spec.limits.memory} is above {policy.max_memory}")
    if spec.budget.usd_per_day > policy.max_usd_per_day:
        found.append(
            f"budget.usd_per_day = {spec.budget.usd_per_day:g} is above {policy.max_usd_per_day:g}"
        )
    if spec.network.mode not in policy.networks:
        allowed = ", ".join(policy.networks) or "none at all"
        found.append(f"network.mode = {spec.network.mode} is not among {allowed}")
    foreign = [tool for tool in spec.tools.builtin if tool not in policy.tools]
    if foreign:
        found.append(f"tools.builtin has {', '.join(foreign)}, which no agent may have")
    return [Problem(path, f"{text}; the policy in hive.toml sets this bound") for text in found]


def _entry(name: str, before: Entry | None, after: Entry, policy: Policy) -> list[Problem]:
    match after:
        case Invalid(problems):
            return [Problem("", str(problem)) for problem in problems]
        case Unreadable(error):
            return [Problem(f"agents/{name}", f"cannot be read: {error}")]
        case Valid(spec):
            found = []
            if not isinstance(before, Valid) or _bounded(before.spec) != _bounded(spec):
                found = policy_problems(name, spec, policy)
            if isinstance(before, Valid) and before.spec.uid != spec.uid:
                path = f"agents/{name}/agent.toml"
                found.append(Problem(path, "uid is set by the reconciler and never changes"))
            return found


def _bounded(spec: AgentSpec) -> tuple[object, ...]:
    """What the policy bounds: an agent that exceeds a new bound may still be stopped."""
    return spec.limits, spec.budget, spec.network, spec.tools


def _managers(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[Problem]:
    managers = sorted(
        name for name, e in after.items() if isinstance(e, Valid) and e.spec.role == "manager"
    )
    if len(managers) > 1:
        return [Problem("", f"there would be {len(managers)} managers: {', '.join(managers)}")]
    if not managers and any(
        isinstance(e, Valid) and e.spec.role == "manager" for e in before.values()
    ):
        return [Problem("", "there would be no manager left; a swarm has exactly one")]
    return []


def _uids(after: Mapping[str, Entry]) -> list[Problem]:
    bearers: dict[str, str] = {}
    found = []
    for name, entry in sorted(after.items()):
        if not isinstance(entry, Valid) or entry.spec.uid is None:
            continue
        first = bearers.setdefault(entry.spec.uid, name)
        if first != name:
            path = f"agents/{name}/agent.toml"
            found.append(Problem(path, f"has the uid of {first}; the reconciler sets uids"))
    return found
