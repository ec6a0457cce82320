"""The plan: a pure function of what is wanted, what is seen, what is remembered, and the clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hive_wire.names import container_name

from ..model.desired import Desired, Invalid, Valid
from ..model.memory import AgentMemory, Memory
from ..model.plan import Action, Blocked, Kind, Plan
from ..runtime.base import Observed, Phase
from .containers import Toolchain, restart_key
from .recall import waits

PRUNE_FLOOR = 2  # deletions that never need a word
PRUNE_SHARE = 0.2
LOST_LOOK = 10.0  # seconds until it is looked for again

_LIVE = (Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.BROKEN)
_FRESH = AgentMemory()


@dataclass(frozen=True)
class _Agent:
    """One agent with all that is known of it. `seen` is None when no container exists."""

    name: str
    uid: str
    valid: Valid
    memory: AgentMemory
    seen: Observed | None
    name_held: bool = False  # by a live container of another uid
    stranger: str = ""  # a live container that could be its own: nothing tells whose it is

    @property
    def container(self) -> str:
        return container_name(self.name, self.valid.spec.role)


def plan(
    desired: Desired,
    observed: Sequence[Observed],
    memory: Memory,
    toolchain: Toolchain,
    now: float,
) -> Plan:
    """What to do now. Destroys come first, then the manager, then the others by name."""
    observed = sorted(observed, key=lambda o: o.name)
    actions: list[Action] = []
    blocked: list[Blocked] = []
    agents = list(_agents(desired, observed, memory, blocked))
    gone = _gone(desired, agents, observed)
    allowed, refusal = _guard(desired, gone, observed, memory)
    if refusal is not None:
        blocked.append(refusal)
    steps = [_destroy(o, memory, now) for o in gone if o.uid in allowed]
    steps += [_unknown(o) for o in observed if not o.uid and o.phase in _LIVE]
    agents.sort(key=lambda a: (a.valid.spec.role != "manager", a.name))
    steps += [_step(agent, toolchain, now) for agent in agents]
    for step in (_unless_suspended(step, memory) for step in steps):
        if isinstance(step, Action):
            actions.append(step)
        elif step is not None:
            blocked.append(step)
    return Plan(desired.commit, tuple(actions), tuple(blocked))


def _unless_suspended(step: Action | Blocked | None, memory: Memory) -> Action | Blocked | None:
    if not isinstance(step, Action) or step.kind is Kind.ADOPT:
        return step
    words = memory.suspension(step.uid)
    if words is None:
        return step
    message = f"{words}; without that: {step.kind.value}"
    return Blocked(step.agent, step.uid, "Suspended", message)


def by_uid(observed: Iterable[Observed]) -> dict[str, Observed]:
    """One container for each uid: the live one, where a rename left another behind."""
    return {o.uid: o for o in sorted(observed, key=lambda o: (o.phase in _LIVE, o.name))}


def _agents(
    desired: Desired, observed: Sequence[Observed], memory: Memory, blocked: list[Blocked]
) -> Iterable[_Agent]:
    """Every agent whose spec can be used, now or from before. Tells of the others in `blocked`."""
    seen = by_uid(observed)
    stranger = next((o.name for o in observed if not o.uid and o.phase in _LIVE), "")
    holders = {o.name: o.uid for o in observed if o.phase in _LIVE}
    uid_of = {m.name: uid for uid, m in memory.agents.items() if m.good is not None}
    for name, entry in sorted(desired.agents.items()):
        if isinstance(entry, Valid):
            uid = entry.spec.uid
            if uid is None:
                blocked.append(
                    Blocked(name, "", "NoUid", "agent.toml has no uid; remove and spawn")
                )
                continue
            remembered = memory.agents.get(uid, _FRESH)
            holder = holders.get(container_name(name, entry.spec.role), uid)
            yield _Agent(name, uid, entry, remembered, seen.get(uid), holder != uid, stranger)
            continue
        uid = uid_of.get(name, "")
        if isinstance(entry, Invalid):
            text = "; ".join(str(problem) for problem in entry.problems)
            blocked.append(Blocked(name, uid, "InvalidSpec", text))
        else:
            blocked.append(Blocked(name, uid, "Unreadable", entry.error))
        good = memory.agents.get(uid, _FRESH).good
        if good is not None:
            known = memory.agents[uid]
            yield _Agent(name, uid, good, known, seen.get(uid), stranger=stranger)


def _gone(
    desired: Desired, agents: Sequence[_Agent], observed: Sequence[Observed]
) -> list[Observed]:
    """Containers that no entry of the applied commit stands for, good or bad."""
    kept_uids = {agent.uid for agent in agents}
    bad = [name for name, entry in desired.agents.items() if not isinstance(entry, Valid)]
    kept_names = {container_name(name, role) for name in bad for role in ("agent", "manager")}
    nobody = {o.name for o in observed if not o.uid and o.phase in _LIVE}
    kept_names |= nobody
    return [o for o in observed if o.uid not in kept_uids and o.name not in kept_names]


def _guard(
    desired: Desired, gone: Sequence[Observed], observed: Sequence[Observed], memory: Memory
) -> tuple[frozenset[str], Blocked | None]:
    """The uids that may be destroyed, and the refusal of the rest."""
    fresh = [o for o in gone if o.uid not in memory.may_destroy]
    uids = frozenset(o.uid for o in gone)
    limit = max(PRUNE_FLOOR, int(len(observed) * PRUNE_SHARE))
    known = [o for o in observed if o.uid]  # a lost record is no reason to let others go
    empties = len(gone) >= len(known) and any(o.phase in _LIVE for o in fresh)
    if not fresh or desired.allow_prune >= len(fresh):
        return uids, None
    if len(fresh) <= limit and not empties:
        return uids, None
    why = "all containers of this host" if empties else f"more than {limit} of {len(observed)}"
    message = (
        f"{len(fresh)} containers would be removed, {why}; nothing is removed until a merge says "
        f"so: hive approve N --allow-prune {len(fresh)}"
    )
    return uids & memory.may_destroy, Blocked("", "", "PruneGuard", message)


def _unknown(seen: Observed) -> Blocked:
    message = (
        f"{seen.name} runs and nothing tells whose it is (its record is lost): it is left alone; "
        "stop it by hand or by hive down"
    )
    return Blocked(seen.name.removeprefix("h-"), "", "RecordLost", message)


def _destroy(seen: Observed, memory: Memory, now: float) -> Action | Blocked | None:
    name = seen.name.removeprefix("h-")
    if cooling := _cooling(name, seen.uid, memory.agents.get(seen.uid, _FRESH), now):
        return cooling
    reason = f"the applied commit has no agent with uid {seen.uid}; its state is kept"
    return Action(Kind.DESTROY, name, seen.uid, seen.name, reason, False, seen.revision)


def _step(agent: _Agent, toolchain: Toolchain, now: float) -> Action | Blocked | None:
    live = agent.seen is not None and agent.seen.phase in _LIVE
    if agent.valid.spec.state == "stopped":
        return _cooling(agent.name, agent.uid, agent.memory, now) or _stop(agent) if live else None
    if agent.seen is None or agent.seen.phase is Phase.STOPPED:
        return _hindrance(agent, toolchain, now) or _start(agent)
    if agent.seen.phase is Phase.STARTING:
        return None  # on its way; its end wakes the loop
    left = agent.seen.phase in (Phase.BROKEN, Phase.STOPPING)
    if left and (cooling := _cooling(agent.name, agent.uid, agent.memory, now)):
        return cooling
    if agent.seen.phase is Phase.BROKEN:
        hindrance = _hindrance(agent, toolchain, now)
        reason = "half of it lives: its supervisor is gone and processes are left"
        kind = Kind.STOP if hindrance is not None else Kind.RESTART
        return _action(agent, kind, reason, drift=True)
    if agent.seen.phase is Phase.STOPPING:
        return _action(agent, Kind.RESTART, "its stop was begun and not finished", drift=True)
    return _running(agent, agent.seen, toolchain, now)


def _running(
    agent: _Agent, seen: Observed, toolchain: Toolchain, now: float
) -> Action | Blocked | None:
    valid = agent.valid
    if seen.restart_key is None and not agent.memory.is_lost:
        message = "its record cannot be read: nothing tells what it runs; soon it is restarted"
        return Blocked(agent.name, agent.uid, "RecordLost", message, now + LOST_LOOK)
    same_key = seen.restart_key == restart_key(agent.name, valid.spec, toolchain)
    if seen.revision == valid.revision and same_key:
        if agent.memory.ran is not None:
            return None
        return _cooling(agent.name, agent.uid, agent.memory, now) or _action(
            agent, Kind.ADOPT, "runs already, as it should"
        )
    if agent.name_held and seen.name != agent.container:  # or two that swap names wait for ever
        reason = f"it gives up the name {seen.name}; {agent.container} is not free yet"
        return _cooling(agent.name, agent.uid, agent.memory, now) or _action(
            agent, Kind.STOP, reason
        )
    if hindrance := _hindrance(agent, toolchain, now):
        return hindrance
    reason = _difference(agent, seen)
    drift = seen.revision == valid.revision
    return _action(agent, Kind.UPDATE if same_key else Kind.RESTART, reason, drift=drift)


def _start(agent: _Agent) -> Action:
    memory, seen = agent.memory, agent.seen
    if memory.crashes and memory.crashed_revision == agent.valid.revision:
        status = "" if seen is None or seen.exit_status is None else f", status {seen.exit_status}"
        times = len(memory.crashes)
        reason = f"it ended by itself{status}: {times} time{'s' * (times > 1)} in 10 minutes"
        return _action(agent, Kind.START, reason, drift=True)
    if seen is None:
        return _action(agent, Kind.CREATE, "the applied commit has it and no container runs it")
    drift = seen.revision == agent.valid.revision and not memory.start_asked
    return _action(agent, Kind.START, 'state = "running" and it does not run', drift=drift)


def _stop(agent: _Agent) -> Action:
    drift = agent.seen is not None and agent.seen.revision == agent.valid.revision
    return _action(agent, Kind.STOP, 'state = "stopped"', drift=drift)


def _hindrance(agent: _Agent, toolchain: Toolchain, now: float) -> Blocked | None:
    """Why a usable spec is not started now."""
    memory = agent.memory
    if agent.name_held:
        message = (
            f"{agent.container} still runs an agent that had this name before; "
            "this one starts when that one has ended its turn and is gone"
        )
        return Blocked(agent.name, agent.uid, "NameTaken", message)
    if agent.stranger and agent.seen is None:
        message = f"{agent.stranger} runs, and its record is lost: it could be this agent's"
        return Blocked(agent.name, agent.uid, "RecordLost", message)
    if problem := toolchain.problem_of(agent.valid.spec):
        return Blocked(agent.name, agent.uid, "EngineMissing", problem)
    if memory.quarantined:
        message = (
            f"it ended {len(memory.crashes)} times in 10 minutes and stays stopped; "
            f"see hive logs {agent.name}, then hive restart {agent.name}"
        )
        return Blocked(agent.name, agent.uid, "Quarantined", message)
    if memory.failure is not None and memory.failure.permanent:
        return Blocked(agent.name, agent.uid, memory.failure.reason, memory.failure.message)
    if cooling := _cooling(agent.name, agent.uid, memory, now):
        return cooling
    if waits(memory.crash_retry_at, now):
        message = f"it ended by itself {len(memory.crashes)} times in 10 minutes"
        return Blocked(agent.name, agent.uid, "CrashLoop", message, memory.crash_retry_at)
    return None


def _cooling(name: str, uid: str, memory: AgentMemory, now: float) -> Blocked | None:
    """An action failed a moment ago: not at once again."""
    if memory.failure is None or not waits(memory.retry_at, now):
        return None
    return Blocked(name, uid, memory.failure.reason, memory.failure.message, memory.retry_at)


def _difference(agent: _Agent, seen: Observed) -> str:
    valid, before = agent.valid, agent.memory.ran
    if seen.name != agent.container:
        return f"it runs as {seen.name} and is {agent.container} now"
    if seen.revision is None:
        return "nothing tells what it runs: its record is lost"
    if seen.revision == valid.revision:
        return "it runs with another toolchain than this host has"
    if before is not None and before.revision == seen.revision:
        old, new = before.spec.model_dump(), valid.spec.model_dump()
        fields = [name for name in new if new[name] != old[name]]
        fields += ["prompt text"] * (before.prompt != valid.prompt)
        if fields:
            return f"changed: {', '.join(fields)}"
    return f"revision {(seen.revision or 'unknown')[:12]} → {valid.revision[:12]}"


def _action(agent: _Agent, kind: Kind, reason: str, *, drift: bool = False) -> Action:
    before = agent.seen.revision if agent.seen is not None else None
    return Action(
        kind, agent.name, agent.uid, agent.container, reason, drift, before, agent.valid.revision
    )
