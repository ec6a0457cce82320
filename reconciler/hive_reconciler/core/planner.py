"""The plan: a pure function of what is wanted, what is seen, what is remembered, and the clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hive_wire.names import container_name

from ..model.desired import Desired
from ..model.layered import since
from ..model.memory import Memory
from ..model.plan import Action, Blocked, Kind, Plan
from ..runtime.base import Observed
from .agents import FRESH, NOBODY, Agent, Agents, Sources, joined
from .containers import Toolchain
from .sight import Sight
from .slices import Work, at_once
from .steps import Steps, cooling, steps_of

PRUNE_FLOOR = 2  # deletions that never need a word
PRUNE_SHARE = 0.2


@dataclass(frozen=True)
class Swarm:
    """All that a plan is made of, but for the clock."""

    desired: Desired
    memory: Memory
    toolchain: Toolchain
    agents: Agents

    @property
    def sight(self) -> Sight:
        return self.agents.sources.sight

    @classmethod
    def of(
        cls,
        desired: Desired,
        observed: Iterable[Observed],
        memory: Memory,
        toolchain: Toolchain,
    ) -> Swarm:
        """Joined from scratch, without what the broker says: no plan depends on that."""
        sources = Sources(desired.agents, Sight(observed), memory.agents, {})
        return cls(desired, memory, toolchain, joined(NOBODY, sources))


@dataclass(frozen=True)
class _Looked:
    """The steps of agents, by name, where there are any."""

    shared: tuple[Toolchain, str] | None = None  # what the step of every agent depends on
    agents: Mapping[str, Agent] = field(default_factory=dict)
    steps: Mapping[str, Steps] = field(default_factory=dict)


@dataclass
class Planner:
    """Plans, and keeps the steps of agents of which nothing changed since: the plan is the one
    that a fresh Planner makes, sooner."""

    _looked: _Looked = _Looked()

    def planning(self, swarm: Swarm, now: float) -> Work[Plan]:
        """What to do now. Destroys come first, then the manager, then the others by name."""
        memory = swarm.memory
        gone, doubts = _gone(swarm)
        yield
        allowed, refusal = _guard(swarm, gone)
        steps: list[Action | Blocked] = [] if refusal is None else [refusal]
        for one in gone:
            yield
            if one.uid in allowed:
                steps.append(_unless_suspended(_destroy(one, memory, now), memory))
        steps += [_unknown(one) for one in swarm.sight.lost]
        self._looked = looked = yield from _look(self._looked, swarm, now)
        yield
        for name in _managers_first(looked.steps, swarm.agents):
            yield
            steps += [_unless_suspended(step, memory) for step in looked.steps[name]]
        steps += doubts
        return Plan(
            swarm.desired.commit,
            tuple(step for step in steps if isinstance(step, Action)),
            tuple(step for step in steps if isinstance(step, Blocked)),
        )


def _managers_first(names: Iterable[str], agents: Agents) -> list[str]:
    managers = {agents.by_uid[uid].name for uid in agents.managers}
    return sorted(managers.intersection(names)) + sorted(set(names) - managers)


def _look(before: _Looked, swarm: Swarm, now: float) -> Work[_Looked]:
    """The steps of the agents that are others now, or that wait for a time."""
    shared = (swarm.toolchain, swarm.sight.stranger)
    if shared != before.shared:
        before = _Looked(shared)
    agents, found = swarm.agents.by_name, dict(before.steps)
    for name in since(before.agents, agents) | swarm.agents.timely:
        yield
        agent = agents.get(name)
        if agent is not None and (steps := steps_of(agent, *shared, now)):
            found[name] = steps
        else:
            found.pop(name, None)
    return _Looked(shared, agents, found)


def plan(
    desired: Desired,
    observed: Iterable[Observed],
    memory: Memory,
    toolchain: Toolchain,
    now: float,
) -> Plan:
    """What to do now, from scratch."""
    return at_once(Planner().planning(Swarm.of(desired, observed, memory, toolchain), now))


def _unless_suspended(step: Action | Blocked, memory: Memory) -> Action | Blocked:
    if not isinstance(step, Action) or step.kind is Kind.ADOPT:
        return step
    words = memory.suspension(step.uid)
    if words is None:
        return step
    message = f"{words}; without that: {step.kind.value}"
    return Blocked(step.agent, step.uid, "Suspended", message)


def _gone(swarm: Swarm) -> tuple[list[Observed], list[Blocked]]:
    """Containers that no entry of the applied commit stands for, good or bad; and why others that
    none stands for stay."""
    agents = swarm.agents
    kept = {container_name(name, role) for name in agents.bad for role in ("agent", "manager")}
    kept |= {one.name for one in swarm.sight.lost}
    found = swarm.sight.of(uid for uid in agents.strays if uid not in agents.by_uid)
    stay = {one.uid: one.name for one in found if one.name in kept}  # removing one ends all it has
    gone = [one for one in found if one.uid not in stay]
    others = [one for one in found if one.uid in stay and one.name not in kept]
    return gone, [_doubt(one, stay[one.uid]) for one in others]


def _guard(swarm: Swarm, gone: Sequence[Observed]) -> tuple[frozenset[str], Blocked | None]:
    """The uids that may be destroyed, and the refusal of the rest."""
    observed, may_destroy = swarm.sight.all, swarm.memory.may_destroy
    fresh = [o for o in gone if o.uid not in may_destroy]
    uids = frozenset(o.uid for o in gone)
    if not fresh or swarm.desired.allow_prune >= len(fresh):
        return uids, None
    limit = max(PRUNE_FLOOR, int(len(observed) * PRUNE_SHARE))
    known = sum(bool(o.uid) for o in observed)  # a lost record is no reason to let others go
    empties = len(gone) >= known  # also of what stands still: it may have crashed a moment ago
    if len(fresh) <= limit and not empties:
        return uids, None
    why = "all containers of this host" if empties else f"more than {limit} of {len(observed)}"
    message = (
        f"{len(fresh)} containers would be removed, {why}; nothing is removed until a merge says "
        f"so: hive approve N --allow-prune {len(fresh)}"
    )
    return uids & may_destroy, Blocked("", "", "PruneGuard", message)


def _unknown(seen: Observed) -> Blocked:
    message = (
        f"{seen.name} runs and nothing tells whose it is (its record is lost): it is left alone; "
        "stop it by hand or by hive down"
    )
    return Blocked(seen.name.removeprefix("h-"), "", "RecordLost", message)


def _doubt(seen: Observed, other: str) -> Blocked:
    message = (
        f"{seen.name} stays: no agent has its uid, but {other} has the same, and the agent of that "
        "name cannot be read, so it may be this one; mend its files or retire it"
    )
    return Blocked(seen.name.removeprefix("h-"), seen.uid, "OwnerInDoubt", message)


def _destroy(seen: Observed, memory: Memory, now: float) -> Action | Blocked:
    name = seen.name.removeprefix("h-")
    if waiting := cooling(name, seen.uid, memory.agents.get(seen.uid, FRESH), now):
        return waiting
    reason = f"the applied commit has no agent with uid {seen.uid}; its state is kept"
    return Action(Kind.DESTROY, name, seen.uid, seen.name, reason, False, seen.revision)
