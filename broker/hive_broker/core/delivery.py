"""The values of the delivery state machine: turns, deliveries, and what is decided of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of the model: the message that woke it and which attempt it is, from 1."""

    message: int
    attempt: int

    @property
    def id(self) -> str:
        return f"{self.message}.{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> Turn:
        message, attempt = text.split(".")
        return cls(int(message), int(attempt))


class Delivery(NamedTuple):
    """An open delivery. `attempt` is that of the turn it wakes next, or wakes now.

    A tuple, because a start may make a hundred thousand of them.
    """

    message: int
    attempt: int = 1
    counted: int = 0
    not_before: float = 0.0  # steady seconds
    attached_to: int | None = None
    given: str | None = None  # the call (`turn:number`) that handed it out; None: unseen
    hops: int = 0  # how many agents' turns it is away from a person


@dataclass(frozen=True, slots=True)
class Ending:
    """What a terminal event says, as far as deliveries care. `retry_in` in seconds."""

    turn: Turn
    outcome: str
    counted: bool = False
    retry_in: float | None = None
    discarded: bool = False
    unseen: frozenset[str] = frozenset()  # calls whose result the engine does not have


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a terminal event does. Nothing at all when the turn does not stand any more.

    `owed`: attached messages that the engine never saw, to be handed out again."""

    turn: Turn
    stands: bool
    settled: tuple[int, ...] = ()
    returned: Delivery | None = None
    dead: Delivery | None = None
    detached: tuple[int, ...] = ()
    owed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a hello means: go on with `resume`, else `drop` what runs; `lost` is returned;
    `again` was granted on a connection that broke before it could be heard."""

    resume: Turn | None = None
    drop: bool = False
    lost: Turn | None = None
    again: Turn | None = None


@dataclass(frozen=True, slots=True)
class Pick:
    """Messages that a recv hands out: `owed` are attached already, `fresh` become so.

    Attached messages are owed to each attempt anew.
    """

    waking: int
    owed: tuple[int, ...]
    fresh: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        return self.owed + self.fresh
