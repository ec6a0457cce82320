"""Conditions of one agent, computed from what is known of it: pure."""

from __future__ import annotations

import time
from dataclasses import dataclass

from hive_wire.protocol import AgentStatus

from ..model.conditions import Condition, Type
from ..model.desired import Entry, Valid
from ..model.memory import AgentMemory
from ..model.plan import Action, Blocked
from ..runtime.base import Observed, Phase

_FINAL = frozenset(
    {"InvalidSpec", "Unreadable", "NoUid", "EngineMissing", "Quarantined", "NameTaken"}
)
MESSAGE_MAX = 4000
HELLO_GRACE = 120.0  # seconds from a container's start, or since its harness went away
FAILURES = 3  # of one revision, then its deploy has failed


@dataclass(frozen=True)
class Facts:
    """All that is known of one agent in one round."""

    entry: Entry
    memory: AgentMemory
    seen: Observed | None
    broker: AgentStatus | None
    broker_down_since: float | None  # unix seconds; None while it is there
    action: Action | None  # planned and not yet done
    blocked: Blocked | None
    doing: tuple[str, str] | None  # reason and message of the operation under way
    swarm_stalled: tuple[str, str] | None  # what stops the whole swarm, if anything
    suspended: tuple[str, str] | None  # reason and message
    now: float  # unix seconds


def conditions(facts: Facts) -> tuple[Condition, ...]:
    found = [_ready(facts), _reconciling(facts), _stalled(facts), _healthy(facts)]
    if facts.suspended is not None:
        found.append(Condition(Type.SUSPENDED, "True", *facts.suspended))
    return tuple(found)


def is_live(seen: Observed | None) -> bool:
    return seen is not None and seen.phase in (Phase.STARTING, Phase.RUNNING)


def is_silent(seen: Observed | None, status: AgentStatus | None, now: float) -> bool:
    """Whether a running container's harness should long have said hello, or come back."""
    if seen is None or seen.phase is not Phase.RUNNING or seen.started is None:
        return False
    if status is None or status.ready:
        return False
    return now - max(seen.started, status.last_seen or 0.0) > HELLO_GRACE


def deploy_failure(
    valid: Valid,
    memory: AgentMemory,
    seen: Observed | None,
    status: AgentStatus | None,
    now: float,
) -> str | None:
    """Why this revision counts as failed, in words; None while it may still come up."""
    failure = memory.failure
    lasts = failure is not None and (failure.permanent or memory.failures >= FAILURES)
    if failure is not None and lasts and failure.revision == valid.revision:
        return f"{failure.reason}: {failure.message}"
    if memory.crashed_revision == valid.revision and len(memory.crashes) >= FAILURES:
        return f"it ended by itself {len(memory.crashes)} times in 10 minutes"
    if seen is not None and seen.revision == valid.revision and is_silent(seen, status, now):
        return f"its harness did not say hello within {HELLO_GRACE:.0f} s"
    return None


def _ready(facts: Facts) -> Condition:
    if _wants_stop(facts) and not is_live(facts.seen):
        return Condition(Type.READY, "False", "Stopped", 'state = "stopped"')
    if facts.seen is None or facts.seen.phase in (Phase.STOPPED, Phase.BROKEN):
        return Condition(Type.READY, "False", "NotRunning", "its container does not run")
    if facts.broker_down_since is not None:
        age = _ago(facts.broker_down_since)
        return Condition(Type.READY, "Unknown", "BrokerAway", f"the broker is away {age}")
    if facts.seen.phase is Phase.RUNNING and facts.broker is not None and facts.broker.ready:
        return Condition(Type.READY, "True", "Hello", "its harness is connected")
    return Condition(Type.READY, "False", "Starting", "its harness has not said hello yet")


def _reconciling(facts: Facts) -> Condition:
    if facts.doing is not None:
        return Condition(Type.RECONCILING, "True", *facts.doing)
    if facts.swarm_stalled is not None:  # what was planned before may be wanted no longer
        words = f"nothing is planned while the whole swarm is stalled: {facts.swarm_stalled[0]}"
        return Condition(Type.RECONCILING, "Unknown", "SwarmStalled", words)
    if facts.action is not None:
        words = f"{facts.action.kind.value}: {facts.action.reason}"
        return Condition(Type.RECONCILING, "True", "Planned", words)
    if facts.blocked is not None and facts.blocked.reason == "Suspended":
        return Condition(Type.RECONCILING, "False", "Suspended", facts.blocked.message)
    if facts.blocked is not None and facts.blocked.until is not None:
        return Condition(Type.RECONCILING, "True", "Retrying", facts.blocked.message)
    if facts.seen is not None and facts.seen.phase in (Phase.STARTING, Phase.STOPPING):
        phase = facts.seen.phase.value
        return Condition(Type.RECONCILING, "True", phase.capitalize(), f"its container is {phase}")
    return Condition(Type.RECONCILING, "False", "InSync", "")


def _stalled(facts: Facts) -> Condition:
    if facts.swarm_stalled is not None:
        return Condition(Type.STALLED, "True", *facts.swarm_stalled)
    blocked = facts.blocked
    if blocked is not None and blocked.reason == "Suspended":
        return Condition(Type.STALLED, "False", "Suspended", "")
    if blocked is not None and (blocked.until is None or blocked.reason in _FINAL):
        return Condition(Type.STALLED, "True", blocked.reason, blocked.message[:MESSAGE_MAX])
    return Condition(Type.STALLED, "False", "Going", "")


def _healthy(facts: Facts) -> Condition:
    memory, seen = facts.memory, facts.seen
    if memory.quarantined or memory.crashes:
        reason = "Quarantined" if memory.quarantined else "CrashLoop"
        message = f"it ended by itself {len(memory.crashes)} times in 10 minutes"
        return Condition(Type.HEALTHY, "False", reason, message)
    if memory.failure is not None:
        return Condition(Type.HEALTHY, "False", memory.failure.reason, memory.failure.message)
    if seen is not None and seen.oom_killed:
        message = "a process of it was killed: it used more memory than limits.memory"
        return Condition(Type.HEALTHY, "False", "OutOfMemory", message)
    if facts.broker_down_since is None and is_silent(seen, facts.broker, facts.now):
        message = f"its container runs, and its harness is away for over {HELLO_GRACE:.0f} s"
        return Condition(Type.HEALTHY, "False", "NotAnswering", message)
    if seen is not None and seen.unenforced and is_live(seen):
        message = f"no controller holds its limits of {', '.join(seen.unenforced)}"
        return Condition(Type.HEALTHY, "False", "LimitsNotEnforced", message)
    if isinstance(facts.entry, Valid) and not facts.entry.nix_applied:
        message = "agent.nix is reviewed and merged; this runtime does not build it"
        return Condition(Type.HEALTHY, "True", "NixNotApplied", message)
    return Condition(Type.HEALTHY, "True", "Fine", "")


def _wants_stop(facts: Facts) -> bool:
    spec = facts.entry if isinstance(facts.entry, Valid) else facts.memory.good
    return spec is not None and spec.spec.state == "stopped"


def _ago(since: float) -> str:
    return f"since {time.strftime('%H:%M:%S', time.localtime(since))}"
