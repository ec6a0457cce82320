"""What nobody's merge asked of an agent is taken over a few agents at a time: pure.

Another hyperhive, or a file that all agents share, makes every container one that should be
replaced. Idle agents go first, the manager last; a share of the swarm at once; and none any more
when some of those that went before do not come back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from hive_wire.protocol import AgentStatus

from ..model.desired import Desired, Valid
from ..model.memory import AgentMemory, Memory
from ..model.plan import Action, Blocked, Kind, Plan
from ..runtime.base import Observed, Phase
from .planner import by_uid

SHARE = 0.2  # of the agents that are to run, at once; at least one
FAILURES = 2  # so many stop it
COMES_BACK = 120.0  # seconds from a container's start to its harness's hello
LOOK_AGAIN = 10.0

Statuses = Mapping[str, AgentStatus]


class _Stand(StrEnum):
    """Where one agent that is to run stands."""

    WELL = "well"
    AWAY = "away"  # on its way up or down
    FAILED = "failed"  # replaced, or tried to be, and not well


@dataclass(frozen=True)
class _Swarm:
    """What the broker says is None while it is away: then nobody is known to be well."""

    entries: Mapping[str, Valid]  # by uid, of all that are to run
    seen: Mapping[str, Observed]
    memory: Mapping[str, AgentMemory]
    statuses: Statuses | None
    now: float

    def ran(self, uid: str) -> Valid | None:
        memory = self.memory.get(uid)
        return None if memory is None else memory.ran

    def phase(self, uid: str) -> Phase:
        seen = self.seen.get(uid)
        return Phase.STOPPED if seen is None else seen.phase


def bounded(
    plan: Plan,
    desired: Desired,
    observed: Sequence[Observed],
    memory: Memory,
    *,
    statuses: Statuses | None,
    now: float,
) -> Plan:
    """`plan` without the replacements that must wait; each of these becomes a Blocked."""
    entries = {
        entry.spec.uid: entry
        for entry in desired.agents.values()
        if isinstance(entry, Valid) and entry.spec.uid and entry.spec.state == "running"
    }
    swarm = _Swarm(entries, by_uid(observed), memory.agents, statuses, now)
    candidates = [action for action in plan.actions if _is_rollout(action, swarm)]
    if not candidates:
        return plan
    # Those wait for us, or for something else: neither comes up now.
    waiting = {action.uid for action in candidates} | {blocked.uid for blocked in plan.blocked}
    stands = {uid: _stand(uid, swarm, waiting) for uid in entries}
    failed = {uid for uid, stand in stands.items() if stand is _Stand.FAILED}
    # One that failed tries again when its own patience says so.
    fresh = [action for action in candidates if action.uid not in failed]
    slots = max(1, int(len(entries) * SHARE))
    if len(failed) >= min(FAILURES, slots):
        names = ", ".join(sorted(name for uid, name in _names(desired) if uid in failed))
        return _held(plan, fresh, "RolloutHeld", _why_held(names), None)
    away = sum(stand is _Stand.AWAY for stand in stands.values())
    order = sorted(fresh, key=lambda action: _order(action, swarm))
    late = order[max(0, slots - away - len(failed)) :]
    message = f"{len(candidates)} agents are to be replaced, a few at a time and idle ones first"
    return _held(plan, late, "RolloutQueued", message, now + LOOK_AGAIN)


def _names(desired: Desired) -> Iterable[tuple[str, str]]:
    """(uid, name) of every usable agent."""
    for name, entry in desired.agents.items():
        if isinstance(entry, Valid) and entry.spec.uid:
            yield entry.spec.uid, name


def _is_rollout(action: Action, swarm: _Swarm) -> bool:
    """Whether nothing of the agent's own changed since it was started."""
    entry, ran = swarm.entries.get(action.uid), swarm.ran(action.uid)
    return (
        action.kind in (Kind.UPDATE, Kind.RESTART)
        and entry is not None
        and ran is not None
        and swarm.phase(action.uid) is Phase.RUNNING
        and swarm.seen[action.uid].name == action.container  # a new name was asked for
        and (ran.tree, ran.spec, ran.prompt) == (entry.tree, entry.spec, entry.prompt)
    )


def _stand(uid: str, swarm: _Swarm, waiting: Iterable[str]) -> _Stand:
    entry, memory, seen = swarm.entries[uid], swarm.memory.get(uid), swarm.seen.get(uid)
    if memory is not None and memory.failure is not None:
        return _Stand.FAILED if memory.failure.revision == entry.revision else _Stand.WELL
    if memory is not None and memory.crashes and memory.crashed_revision == entry.revision:
        return _Stand.FAILED
    if uid in waiting:
        return _Stand.WELL
    if seen is None or seen.phase is not Phase.RUNNING:
        return _Stand.AWAY
    status = None if swarm.statuses is None else swarm.statuses.get(uid)
    if status is not None and status.ready:
        return _Stand.WELL
    young = seen.started is None or swarm.now - seen.started < COMES_BACK
    return _Stand.AWAY if young or swarm.statuses is None else _Stand.FAILED


def _order(action: Action, swarm: _Swarm) -> tuple[bool, bool, str]:
    status = None if swarm.statuses is None else swarm.statuses.get(action.uid)
    busy = status is None or status.turn is not None
    manager = swarm.entries[action.uid].spec.role == "manager"
    return manager, busy, action.agent


def _held(
    plan: Plan, late: Sequence[Action], reason: str, message: str, until: float | None
) -> Plan:
    gone = {action.uid for action in late}
    return replace(
        plan,
        actions=tuple(action for action in plan.actions if action.uid not in gone),
        blocked=(
            *plan.blocked,
            *(Blocked(a.agent, a.uid, reason, f"{message}; {a.reason}", until) for a in late),
        ),
    )


def _why_held(names: str) -> str:
    return (
        f"waits because of {names}: not well since the last replacement, so the others keep what "
        "they run; cure or stop what failed, or take this one over by hive restart"
    )
