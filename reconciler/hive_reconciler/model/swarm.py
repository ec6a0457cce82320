"""What must hold for all agents together after a merge."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hive_wire.hivetoml import Policy
from hive_wire.spec import AgentSpec, parse_size
from hive_wire.terms import NetworkMode

from .checks import Problem
from .desired import Entry, Invalid, Unreadable, Valid
from .layered import Layered

ALL_NETWORKS: frozenset[NetworkMode] = frozenset(typing.get_args(NetworkMode))


@dataclass(frozen=True)
class HostAbilities:
    """What the runtime of this host makes of a tree."""

    reads_nix: bool = False
    networks: frozenset[NetworkMode] = ALL_NETWORKS


@dataclass(frozen=True)
class Roll:
    """Who is manager and who bears which uid, among all agents."""

    managers: frozenset[str] = frozenset()
    bearers: Layered[str, frozenset[str]] = field(default_factory=Layered)  # by uid
    shared: frozenset[str] = frozenset()  # uids that several agents bear

    def changed(
        self, before: Mapping[str, Entry], after: Mapping[str, Entry], names: Iterable[str]
    ) -> Roll:
        """The roll of `after`, which differs from `before`, whose roll this is, in `names` only."""
        managers, shared = set(self.managers), set(self.shared)
        bearers: dict[str, frozenset[str]] = {}  # of the uids in question
        for name in names:
            managers.discard(name)
            if uid := _uid(before.get(name)):
                bearers[uid] = bearers.get(uid, self.bearers.get(uid, frozenset())) - {name}
        for name in names:
            new = after.get(name)
            if uid := _uid(new):
                bearers[uid] = bearers.get(uid, self.bearers.get(uid, frozenset())) | {name}
            if isinstance(new, Valid) and new.spec.role == "manager":
                managers.add(name)
        for uid, found in bearers.items():
            (shared.add if len(found) > 1 else shared.discard)(uid)
        borne = {uid: found for uid, found in bearers.items() if found}
        left = bearers.keys() - borne.keys()
        return Roll(frozenset(managers), self.bearers.changed(borne, left), frozenset(shared))


def _uid(entry: Entry | None) -> str | None:
    return entry.spec.uid if isinstance(entry, Valid) else None


def swarm_problems(
    before: Mapping[str, Entry],
    after: Mapping[str, Entry],
    rolls: tuple[Roll, Roll],
    policy: Policy,
    host: HostAbilities,
) -> list[Problem]:
    """Contradictions of the merged tree. `before` and `after` have the agents whose settings may
    differ, `rolls` all of them."""
    found: list[Problem] = []
    for name, entry in sorted(after.items()):
        found += _entry(name, before.get(name), entry, policy, host)
    return found + _managers(*rolls) + _uids(rolls[1])


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


def _entry(
    name: str, before: Entry | None, after: Entry, policy: Policy, host: HostAbilities
) -> list[Problem]:
    match after:
        case Invalid(problems):
            return [Problem("", str(problem)) for problem in problems]
        case Unreadable(error):
            return [Problem(f"agents/{name}", f"cannot be read: {error}")]
        case Valid(spec):
            found = []
            if not isinstance(before, Valid) or _bounded(before.spec) != _bounded(spec):
                found = policy_problems(name, spec, policy) + _host_problems(name, spec, host)
            if isinstance(before, Valid) and before.spec.uid != spec.uid:
                path = f"agents/{name}/agent.toml"
                found.append(Problem(path, "uid is set by the reconciler and never changes"))
            return found


def _host_problems(name: str, spec: AgentSpec, host: HostAbilities) -> list[Problem]:
    mode = spec.network.mode
    if mode in host.networks:
        return []
    here = " and ".join(sorted(host.networks))
    text = f"network.mode = {mode} cannot be had: the runtime of this host gives {here} only"
    return [Problem(f"agents/{name}/agent.toml", text)]


def _bounded(spec: AgentSpec) -> tuple[object, ...]:
    """What the policy bounds: an agent that exceeds a new bound may still be stopped."""
    return spec.limits, spec.budget, spec.network, spec.tools


def _managers(before: Roll, after: Roll) -> list[Problem]:
    managers = sorted(after.managers)
    if len(managers) > 1:
        return [Problem("", f"there would be {len(managers)} managers: {', '.join(managers)}")]
    if not managers and before.managers:
        return [Problem("", "there would be no manager left; a swarm has exactly one")]
    return []


def _uids(after: Roll) -> list[Problem]:
    found = []
    for uid in after.shared:
        first, *others = sorted(after.bearers[uid])
        for name in others:
            path = f"agents/{name}/agent.toml"
            found.append(Problem(path, f"has the uid of {first}; the reconciler sets uids"))
    return sorted(found, key=str)
