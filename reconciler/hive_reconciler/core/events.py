"""What happened lately, for people: conditions that changed, actions that ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from ..model.conditions import Condition

KEPT = 1000
MESSAGE_MAX = 2000


@dataclass(frozen=True)
class Event:
    """`id` ascends while the process lives; `at` is unix seconds."""

    id: int
    at: float
    agent: str
    type: str  # of the condition, or "Action"
    reason: str
    message: str


class Events:
    def __init__(self) -> None:
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._last = 0

    def add(self, agent: str, type: str, reason: str, message: str, at: float) -> None:
        self._last += 1
        self._kept.append(Event(self._last, at, agent, type, reason, message[:MESSAGE_MAX]))

    def moved(
        self, agent: str, before: Iterable[Condition], after: Iterable[Condition], now: float
    ) -> None:
        """Note each condition whose status or reason is another one."""
        old = {c.type: (c.status, c.reason) for c in before}
        for c in after:
            if old.get(c.type) != (c.status, c.reason):
                self.add(
                    agent, c.type.value, c.reason, f"{c.status}: {c.message}".rstrip(": "), now
                )

    def after(self, id: int, agent: str | None, limit: int) -> list[Event]:
        """The oldest `limit` behind `id`; of one agent, or of all."""
        found = (e for e in self._kept if e.id > id and agent in (None, e.agent))
        return [event for event, _ in zip(found, range(limit), strict=False)]

    def newest(self, agent: str | None, limit: int) -> list[Event]:
        """The last `limit`, oldest first."""
        return [e for e in self._kept if agent in (None, e.agent)][-limit:]
