"""The badge: what the agent is doing, as a state machine without I/O or clock.

Happenings go in, a badge comes out. Offline and paused are the broker's to say; it sees what
the harness cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .verdict import Verdict

UNKILLABLE = "something that the turn started cannot be killed; the container starts anew"
UPKEEP = "takes notes, shortens its conversation"

_AFTER = {"auth": "needs-login", "rate_limit": "rate-limited"}
_BROKEN = frozenset(
    {"engine_missing", "engine_crash", "billing", "stalled", "overloaded", "server_error"}
)


@dataclass(frozen=True)
class Badge:
    """A state of docs/protocol.md, with words for a person. `until` is unix seconds."""

    state: str
    detail: str = ""
    until: float | None = None


STARTING = Badge("starting")
IDLE = Badge("idle")


@dataclass(frozen=True)
class Doing:
    """What is known; each method is a happening and gives what is known then."""

    rest: Badge = STARTING  # what is shown while nothing runs
    runs: bool = False  # a turn
    upkeep_runs: bool = False  # the conversation is shortened
    asks: tuple[str, ...] = ()  # tools that the turn asks a person about, oldest first
    problem: str = ""  # with agent.json
    trouble: str = ""  # that the engine has with the model's API, and tries to overcome
    lost: bool = False  # only a new container helps

    @property
    def badge(self) -> Badge:
        if self.lost:
            return Badge("failed", UNKILLABLE)
        if self.asks:
            return Badge("waiting", f"may it use {self.asks[0]}?")
        if self.runs:
            return Badge("thinking", self.trouble or self.problem)
        if self.upkeep_runs:
            return Badge("thinking", UPKEEP)
        return self.rest

    def engine_up(self, problem: str = "") -> Doing:
        """It was started ahead of the first turn. A turn that came first knows better."""
        return replace(self, rest=Badge("idle", problem)) if self.rest == STARTING else self

    def engine_failed(self, why: str) -> Doing:
        """It could not be started ahead of a turn."""
        return replace(self, rest=Badge("failed", why))

    def turn_began(self, problem: str = "") -> Doing:
        return replace(self, runs=True, asks=(), problem=problem, trouble="")

    def troubled(self, words: str) -> Doing:
        """The model's API refuses; without words it answers again."""
        return replace(self, trouble=words)

    def asked(self, tool: str) -> Doing:
        return replace(self, asks=(*self.asks, tool)) if self.runs else self

    def answered(self, tool: str) -> Doing:
        if tool not in self.asks:  # its turn is over
            return self
        at = self.asks.index(tool)
        return replace(self, asks=self.asks[:at] + self.asks[at + 1 :])

    def turn_ended(self, verdict: Verdict, problem: str = "") -> Doing:
        return Doing(_after(verdict, problem), lost=self.lost)

    def upkeep(self, does: bool) -> Doing:
        """The conversation begins to be shortened, or that is over."""
        return replace(self, upkeep_runs=does)

    def stuck(self) -> Doing:
        return replace(self, lost=True)


def _after(verdict: Verdict, problem: str) -> Badge:
    state = _AFTER.get(verdict.cause)
    if state is not None:
        return Badge(state, verdict.detail, verdict.retry_at)
    if verdict.cause in _BROKEN:
        return Badge("failed", verdict.detail)
    return Badge("idle", problem)
