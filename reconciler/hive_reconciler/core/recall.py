"""How memory changes: pure transitions with the numbers of backoff, crash loop and quarantine."""

from __future__ import annotations

from dataclasses import replace

from ..model.desired import Valid
from ..model.memory import AgentMemory, Failure
from ..runtime.base import Observed, Phase

FIRST_RETRY, LAST_RETRY = 1.0, 300.0  # seconds, doubling
FIRST_CRASH_RETRY, LAST_CRASH_RETRY = 2.0, 300.0  # seconds, times three
CRASH_WINDOW = 600.0
QUARANTINE_AFTER = 5
HEALTHY_AFTER = 600.0
LOST_GRACE = 60.0  # what cannot be told now is mostly told a moment later

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


def started(memory: AgentMemory, ran: Valid) -> AgentMemory:
    memory = replace(memory, start_asked=False)
    return replace(memory, ran=ran, expected=True, failure=None, failures=0, retry_at=0.0)


def stopping(memory: AgentMemory) -> AgentMemory:
    """It is being stopped on purpose: its end is no crash."""
    return replace(memory, expected=False)


def succeeded(memory: AgentMemory) -> AgentMemory:
    return replace(memory, failure=None, failures=0, retry_at=0.0)


def seen(memory: AgentMemory, observed: Observed | None, now: float) -> AgentMemory:
    """What observation says: it runs, it runs long enough to be well, or it crashed."""
    is_lost = observed is not None and observed.phase is Phase.RUNNING and not observed.restart_key
    if is_lost != bool(memory.lost_since):
        memory = replace(memory, lost_since=now if is_lost else 0.0)
    if observed is not None and observed.phase is Phase.RUNNING:
        if not memory.expected:
            memory = replace(memory, expected=True)
        since = observed.started if observed.started is not None else now
        if memory.crashes and now - max(since, memory.crashes[-1]) >= HEALTHY_AFTER:
            memory = _forgive(memory)
        return memory
    if memory.expected and (observed is None or observed.phase in _GONE):
        return crashed(memory, now)
    return memory


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


def _forgive(memory: AgentMemory) -> AgentMemory:
    return replace(memory, crashes=(), crash_retry_at=0.0, crashed_revision=None, quarantined=False)
