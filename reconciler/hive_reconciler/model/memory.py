"""What the reconciler remembers of one agent between rounds. Losable: it only slows things down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .desired import Valid
from .past import Outcome


@dataclass(frozen=True)
class Failure:
    """An action that failed. A permanent one is not retried until the revision changes."""

    revision: str
    reason: str
    message: str
    permanent: bool


@dataclass(frozen=True)
class AgentMemory:
    """Times are unix seconds."""

    good: Valid | None = None  # the last spec that could be used
    name: str = ""
    container: str = ""  # where it lives, as last seen or started: a rename moves it later
    ran: Valid | None = None  # what the container was last started or updated with
    expected: bool = False  # we believe it runs; an end we did not order is a crash
    start_asked: bool = False  # the start that is due was asked for: it was stopped before
    failure: Failure | None = None
    failures: int = 0
    retry_at: float = 0.0
    crashes: tuple[float, ...] = ()  # in the last CRASH_WINDOW
    crash_retry_at: float = 0.0
    crashed_revision: str | None = None
    quarantined: bool = False
    past: tuple[Outcome, ...] = ()  # the newest first
    lost_since: float | None = None  # monotonic: since then nothing tells what its container runs
    lost_at: float = 0.0  # monotonic: it was looked at last, and that was so
    is_lost: bool = False  # it was so for long


@dataclass(frozen=True)
class Memory:
    """By uid. `may_destroy` holds uids whose removal the prune guard let pass once."""

    agents: Mapping[str, AgentMemory] = field(default_factory=dict)
    may_destroy: frozenset[str] = frozenset()
    suspended: Mapping[str, str] = field(default_factory=dict)  # by uid, "*" for all: who and why

    def suspension(self, uid: str) -> str | None:
        return self.suspended.get(uid) or self.suspended.get("*")
