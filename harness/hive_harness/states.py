"""The badge: what the agent is doing, as a pure function of what happened.

Offline and paused are the broker's to say; it sees what the harness cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

from .verdict import Verdict


@dataclass(frozen=True)
class Badge:
    """A state of docs/protocol.md, with words for a person. `until` is unix seconds."""

    state: str
    detail: str = ""
    until: float | None = None


STARTING = Badge("starting")
IDLE = Badge("idle")

_AFTER = {"auth": "needs-login", "rate_limit": "rate-limited"}
_BROKEN = frozenset(
    {"engine_missing", "engine_crash", "billing", "stalled", "overloaded", "server_error"}
)


def thinking(problem: str = "") -> Badge:
    """A turn runs; `problem` is what is wrong with agent.json."""
    return Badge("thinking", problem)


def waiting(detail: str) -> Badge:
    """A person is asked in the middle of a turn."""
    return Badge("waiting", detail)


def idle(problem: str = "") -> Badge:
    return Badge("idle", problem)


def failed(detail: str) -> Badge:
    return Badge("failed", detail)


def after(verdict: Verdict, problem: str = "") -> Badge:
    """The state once a turn ended like this."""
    state = _AFTER.get(verdict.cause)
    if state is not None:
        return Badge(state, verdict.detail, verdict.retry_at)
    if verdict.cause in _BROKEN:
        return failed(verdict.detail)
    return idle(problem)
