"""What is to be done with one agent now: pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..model.desired import Invalid, Unreadable, Valid
from ..model.memory import AgentMemory
from ..model.plan import Action, Blocked, Kind
from ..runtime.base import Observed, Phase
from .agents import Agent
from .containers import Toolchain, restart_key
from .recall import waits

LOST_LOOK = 10.0  # seconds until it is looked for again

Steps = tuple[Action | Blocked, ...]


def steps_of(agent: Agent, toolchain: Toolchain, stranger: str, now: float) -> Steps:
    """The next step, if any, behind what is wrong with its files. `stranger`: a live container of
    which nothing tells whose it is. The clock matters only to those that are timely."""
    wrong, step = _wrong(agent), None
    if agent.valid is not None:
        step = _step(_Case(agent, agent.valid, stranger), toolchain, now)
    return tuple(found for found in (wrong, step) if found is not None)


@dataclass(frozen=True)
class _Case:
    """An agent whose spec can be used, now or from before."""

    known: Agent
    valid: Valid
    stranger: str

    @property
    def name(self) -> str:
        return self.known.name

    @property
    def uid(self) -> str:
        return self.known.uid

    @property
    def container(self) -> str:
        return self.known.container

    @property
    def memory(self) -> AgentMemory:
        return self.known.memory

    @property
    def seen(self) -> Observed | None:
        return self.known.seen

    @property
    def name_held(self) -> bool:
        """Whether a live container of another uid has its name."""
        there = self.known.there
        return there is not None and there.uid != self.uid


def _wrong(agent: Agent) -> Blocked | None:
    match agent.entry:
        case Invalid(problems):
            text = "; ".join(str(problem) for problem in problems)
            return Blocked(agent.name, agent.uid, "InvalidSpec", text)
        case Unreadable(error):
            return Blocked(agent.name, agent.uid, "Unreadable", error)
        case Valid(spec) if spec.uid is None:
            return Blocked(agent.name, "", "NoUid", "agent.toml has no uid; remove and spawn")
    return None


def _step(agent: _Case, toolchain: Toolchain, now: float) -> Action | Blocked | None:
    if agent.valid.spec.state == "stopped":
        live = agent.seen is not None and agent.seen.lives
        return cooling(agent.name, agent.uid, agent.memory, now) or _stop(agent) if live else None
    if agent.seen is None or agent.seen.phase is Phase.STOPPED:
        return _hindrance(agent, toolchain, now) or _start(agent)
    if agent.seen.phase is Phase.STARTING:
        return None  # on its way; its end wakes the loop
    left = agent.seen.phase in (Phase.BROKEN, Phase.STOPPING)
    if left and (waiting := cooling(agent.name, agent.uid, agent.memory, now)):
        return waiting
    if agent.seen.phase is Phase.BROKEN:
        hindrance = _hindrance(agent, toolchain, now)
        reason = "half of it lives: its supervisor is gone and processes are left"
        kind = Kind.STOP if hindrance is not None else Kind.RESTART
        return _action(agent, kind, reason, drift=True)
    if agent.seen.phase is Phase.STOPPING:
        return _action(agent, Kind.RESTART, "its stop was begun and not finished", drift=True)
    return _running(agent, agent.seen, toolchain, now)


def _running(
    agent: _Case, seen: Observed, toolchain: Toolchain, now: float
) -> Action | Blocked | None:
    valid = agent.valid
    if seen.restart_key is None and not agent.memory.is_lost:
        message = "its record cannot be read: nothing tells what it runs; soon it is restarted"
        return Blocked(agent.name, agent.uid, "RecordLost", message, now + LOST_LOOK)
    same_key = seen.restart_key == restart_key(agent.name, valid.spec, toolchain)
    if seen.revision == valid.revision and same_key:
        if agent.memory.ran is not None:
            return None
        return cooling(agent.name, agent.uid, agent.memory, now) or _action(
            agent, Kind.ADOPT, "runs already, as it should"
        )
    is_bad = agent.known.entry is not valid
    if seen.name != agent.container and is_bad and not agent.known.is_in_the_way:
        return None  # a rename waits until the files are good again, or another needs the name
    if agent.name_held and seen.name != agent.container:  # or two that swap names wait for ever
        reason = f"it gives up the name {seen.name}; {agent.container} is not free yet"
        return cooling(agent.name, agent.uid, agent.memory, now) or _action(
            agent, Kind.STOP, reason
        )
    if hindrance := _hindrance(agent, toolchain, now):
        return hindrance
    reason = _difference(agent, seen)
    drift = seen.revision == valid.revision
    return _action(agent, Kind.UPDATE if same_key else Kind.RESTART, reason, drift=drift)


def _start(agent: _Case) -> Action:
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


def _stop(agent: _Case) -> Action:
    drift = agent.seen is not None and agent.seen.revision == agent.valid.revision
    return _action(agent, Kind.STOP, 'state = "stopped"', drift=drift)


def _hindrance(agent: _Case, toolchain: Toolchain, now: float) -> Blocked | None:
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
    if waiting := cooling(agent.name, agent.uid, memory, now):
        return waiting
    if waits(memory.crash_retry_at, now):
        message = f"it ended by itself {len(memory.crashes)} times in 10 minutes"
        return Blocked(agent.name, agent.uid, "CrashLoop", message, memory.crash_retry_at)
    return None


def cooling(name: str, uid: str, memory: AgentMemory, now: float) -> Blocked | None:
    """An action failed a moment ago: not at once again."""
    if memory.failure is None or not waits(memory.retry_at, now):
        return None
    return Blocked(name, uid, memory.failure.reason, memory.failure.message, memory.retry_at)


def _difference(agent: _Case, seen: Observed) -> str:
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


def _action(agent: _Case, kind: Kind, reason: str, *, drift: bool = False) -> Action:
    before = agent.seen.revision if agent.seen is not None else None
    return Action(
        kind, agent.name, agent.uid, agent.container, reason, drift, before, agent.valid.revision
    )
