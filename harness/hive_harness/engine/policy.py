"""When a conversation is shortened, and when it is begun anew. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..spool import Session

LARGE = 50_000  # tokens; what is smaller costs little to read again
COLD = 3600.0  # seconds after which no cache of the model holds a conversation any more


@dataclass(frozen=True)
class Policy:
    """`[session]` of agent.toml."""

    compact_at: float
    when_cold: str


def is_long(session: Session, policy: Policy) -> bool:
    """Whether the conversation is to be shortened. One that was, and is long all the same,
    is left alone until it doubled."""
    threshold = policy.compact_at * session.window
    return 0 < threshold <= session.context and session.context >= 2 * session.base


def needs_notes(session: Session, policy: Policy) -> bool:
    """Whether notes are to be taken, should the conversation grow cold."""
    return policy.when_cold == "notes" and session.context > LARGE and not session.noted


def is_better_begun_anew(session: Session, policy: Policy, now: float) -> bool:
    """Whether its notes cost less than reading it again. `now` in unix seconds."""
    cold = now - session.at >= COLD
    large = session.context > LARGE
    return policy.when_cold == "notes" and cold and large and session.noted
