"""What nobody's merge asked of an agent is taken over a few agents at a time: pure.

Another hyperhive, or a file that all agents share, makes every container one that should be
replaced. Idle agents go first, the manager last; a share of the swarm at once; and none any more
when some of those that went before do not come back.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from hive_wire.protocol import AgentStatus

from ..model.desired import Valid
from ..model.plan import Action, Blocked, Kind, Plan
from ..runtime.base import Phase
from .agents import Agent, Agents
from .planner import Swarm
from .slices import Work, at_once

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


def bounded(plan: Plan, swarm: Swarm, statuses: Statuses | None, now: float) -> Plan:
    """`plan` without the replacements that must wait; each of these becomes a Blocked.

    `statuses` is None while the broker is away: then nobody is known to be well.
    """
    return at_once(bounding(plan, swarm, statuses, now))


def bounding(plan: Plan, swarm: Swarm, statuses: Statuses | None, now: float) -> Work[Plan]:
    """The same as work in slices."""
    agents = swarm.agents.by_uid
    candidates: list[Action] = []
    for action in plan.actions:
        yield
        if _is_rollout(action, agents):
            candidates.append(action)
    if not candidates:
        return plan
    # Those wait for us, or for something else: neither comes up now.
    waiting = {action.uid for action in candidates} | {blocked.uid for blocked in plan.blocked}
    yield
    stands: dict[str, _Stand] = {}
    for uid, agent in agents.items():
        yield
        if _is_to_run(agent):
            stands[uid] = _stand(agent, waiting, statuses, now)
    failed = {uid for uid, stand in stands.items() if stand is _Stand.FAILED}
    # One that failed tries again when its own patience says so.
    fresh = [action for action in candidates if action.uid not in failed]
    slots = max(1, int(len(stands) * SHARE))
    if len(failed) >= min(FAILURES, slots):
        names = ", ".join(sorted(agents[uid].name for uid in failed))
        return (yield from _holding(plan, fresh, "RolloutHeld", _why_held(names), None))
    away = sum(stand is _Stand.AWAY for stand in stands.values())
    yield
    ranked: list[tuple[tuple[bool, bool, str], int]] = []
    for place, action in enumerate(fresh):
        yield
        ranked.append((_order(action, swarm.agents, statuses), place))
    ranked.sort()
    yield
    late = [fresh[place] for _, place in ranked[max(0, slots - away - len(failed)) :]]
    message = f"{len(candidates)} agents are to be replaced, a few at a time and idle ones first"
    return (yield from _holding(plan, late, "RolloutQueued", message, now + LOOK_AGAIN))


def _is_to_run(agent: Agent) -> bool:
    """Whether the applied commit itself says so."""
    return isinstance(agent.entry, Valid) and agent.entry.spec.state == "running"


def _is_rollout(action: Action, agents: Mapping[str, Agent]) -> bool:
    """Whether nothing of the agent's own changed since it was started."""
    agent = agents.get(action.uid)
    if action.kind not in (Kind.UPDATE, Kind.RESTART) or agent is None or not _is_to_run(agent):
        return False
    entry, ran, seen = agent.valid, agent.memory.ran, agent.seen
    return (
        entry is not None
        and ran is not None
        and seen is not None
        and seen.phase is Phase.RUNNING
        and seen.name == action.container  # a new name was asked for
        and (ran.tree, ran.spec, ran.prompt) == (entry.tree, entry.spec, entry.prompt)
    )


def _stand(agent: Agent, waiting: Container[str], statuses: Statuses | None, now: float) -> _Stand:
    memory, seen = agent.memory, agent.seen
    revision = agent.valid.revision if agent.valid is not None else None
    if memory.failure is not None:
        return _Stand.FAILED if memory.failure.revision == revision else _Stand.WELL
    if memory.crashes and memory.crashed_revision == revision:
        return _Stand.FAILED
    if agent.uid in waiting:
        return _Stand.WELL
    if seen is None or seen.phase is not Phase.RUNNING:
        return _Stand.AWAY
    status = None if statuses is None else statuses.get(agent.uid)
    if status is not None and status.ready:
        return _Stand.WELL
    young = seen.started is None or now - seen.started < COMES_BACK
    return _Stand.AWAY if young or statuses is None else _Stand.FAILED


def _order(action: Action, agents: Agents, statuses: Statuses | None) -> tuple[bool, bool, str]:
    status = None if statuses is None else statuses.get(action.uid)
    busy = status is None or status.turn is not None
    return action.uid in agents.managers, busy, action.agent


def _holding(
    plan: Plan, late: Sequence[Action], reason: str, message: str, until: float | None
) -> Work[Plan]:
    gone = {action.uid for action in late}
    blocked = list(plan.blocked)
    for a in late:
        yield
        blocked.append(Blocked(a.agent, a.uid, reason, f"{message}; {a.reason}", until))
    actions = tuple(action for action in plan.actions if action.uid not in gone)
    return replace(plan, actions=actions, blocked=tuple(blocked))


def _why_held(names: str) -> str:
    return (
        f"waits because of {names}: not well since the last replacement, so the others keep what "
        "they run; cure or stop what failed, or take this one over by hive restart"
    )
