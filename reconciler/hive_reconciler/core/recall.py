"""How memory changes: pure transitions with the numbers of backoff, crash loop and quarantine."""

from __future__ import annotations

from dataclasses import replace

from ..model import past
from ..model.desired import Valid
from ..model.memory import AgentMemory, Failure
from ..model.past import Outcome
from ..runtime.base import Observed, Phase

FIRST_RETRY, LAST_RETRY = 1.0, 300.0  # seconds, doubling
FIRST_CRASH_RETRY, LAST_CRASH_RETRY = 2.0, 300.0  # seconds, times three
CRASH_WINDOW = 600.0
QUARANTINE_AFTER = 5
HEALTHY_AFTER = 600.0
LOST_GRACE = 60.0  # what cannot be told now is mostly told a moment later
UNSEEN = 60.0  # between two looks: nobody knows what was then

LONGEST_WAIT = LAST_RETRY * 1.25

_GONE = (Phase.STOPPED, Phase.BROKEN)


def waits(due: float, now: float) -> bool:
    """Whether `due` is still to come. One further off than any delay is from before a clock jump."""
    return now < due <= now + LONGEST_WAIT


def wanted(memory: AgentMemory, name: str, entry: Valid) -> AgentMemory:
    """A usable spec was read. Another revision is a new input: old failures do not count."""
    before = memory.good
    if before is not None and before.spec.state != entry.spec.state:
        memory = replace(memory, start_asked=entry.spec.state == "running")
    if memory.good is not entry or memory.name != name:
        memory = replace(memory, name=name, good=entry)
    if memory.failure is not None and memory.failure.revision != entry.revision:
        memory = replace(memory, failure=None, failures=0, retry_at=0.0)
    if memory.crashed_revision not in (None, entry.revision):
        memory = _forgive(memory)
    return memory


def failed(memory: AgentMemory, failure: Failure, now: float, jitter: float) -> AgentMemory:
    """An action failed. `jitter` is a factor between 0.75 and 1.25."""
    count = memory.failures + 1
    delay = min(LAST_RETRY, FIRST_RETRY * 2 ** min(count - 1, 20)) * jitter
    return replace(memory, failure=failure, failures=count, retry_at=now + delay)


def started(memory: AgentMemory, ran: Valid, container: str) -> AgentMemory:
    memory = replace(memory, container=container, start_asked=False)
    return replace(memory, ran=ran, expected=True, failure=None, failures=0, retry_at=0.0)


def stopping(memory: AgentMemory) -> AgentMemory:
    """It is being stopped on purpose: its end is no crash."""
    return replace(memory, expected=False)


def succeeded(memory: AgentMemory) -> AgentMemory:
    return replace(memory, failure=None, failures=0, retry_at=0.0)


def seen(memory: AgentMemory, observed: Observed | None, now: float, clock: float) -> AgentMemory:
    """What observation says: it runs, it runs long enough to be well, or it crashed.

    `clock` is a monotonic one, `now` what people set.
    """
    memory = _looked_for(memory, observed, clock)
    lives_in = observed.name if observed is not None and observed.lives else ""
    if memory.container != lives_in:
        memory = replace(memory, container=lives_in)
    if observed is not None and observed.phase is Phase.RUNNING:
        if not memory.expected:
            memory = replace(memory, expected=True)
        if memory.crashes and memory.crashes[-1] > now:  # the clock was set back
            memory = replace(memory, crashes=tuple(min(at, now) for at in memory.crashes))
        if memory.crashes and now - max(_since(observed, now), memory.crashes[-1]) >= HEALTHY_AFTER:
            memory = _forgive(memory)
        return memory
    if memory.expected and (observed is None or observed.phase in _GONE):
        return crashed(memory, now)
    return memory


def told(memory: AgentMemory, observed: Observed | None) -> AgentMemory:
    """Lost no longer, where it is known again what the container runs, or it runs no more."""
    if memory.lost_since is None or _tells_nothing(observed):
        return memory
    return replace(memory, lost_since=None, lost_at=0.0, is_lost=False)


def _looked_for(memory: AgentMemory, observed: Observed | None, clock: float) -> AgentMemory:
    """Whether something tells what the container runs."""
    if not _tells_nothing(observed):
        return told(memory, observed)
    if memory.lost_since is None or clock - memory.lost_at > UNSEEN:
        return replace(memory, lost_since=clock, lost_at=clock, is_lost=False)
    is_long = clock - memory.lost_since >= LOST_GRACE
    return replace(memory, lost_at=clock, is_lost=memory.is_lost or is_long)


def _tells_nothing(observed: Observed | None) -> bool:
    if observed is None or observed.phase is not Phase.RUNNING:
        return False
    return observed.restart_key is None


def _since(observed: Observed, now: float) -> float:
    """When it started; a start that is still to come was told by a clock set back since."""
    if observed.age is not None:
        return now - observed.age
    if observed.started is None:
        return now
    return observed.started if observed.started <= now else 0.0


def crashed(memory: AgentMemory, now: float) -> AgentMemory:
    ran = memory.ran or memory.good
    recent = (*(at for at in memory.crashes if now - at < CRASH_WINDOW), now)
    delay = min(LAST_CRASH_RETRY, FIRST_CRASH_RETRY * 3 ** min(len(recent) - 1, 20))
    return replace(
        memory,
        expected=False,
        crashes=recent,
        crash_retry_at=now + delay,
        crashed_revision=ran.revision if ran is not None else None,
        quarantined=len(recent) >= QUARANTINE_AFTER,
    )


def noted(memory: AgentMemory, outcome: Outcome) -> AgentMemory:
    return replace(memory, past=past.noted(memory.past, outcome))


def _forgive(memory: AgentMemory) -> AgentMemory:
    return replace(memory, crashes=(), crash_retry_at=0.0, crashed_revision=None, quarantined=False)
