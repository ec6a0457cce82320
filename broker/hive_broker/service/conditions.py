"""What is wrong with the broker now, by name, for people: in `status` and in the history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..store.rows import Unit
from .broker import Broker

DISK_FULL = "DiskFull"
DATABASE_DAMAGED = "DatabaseDamaged"
MESSAGES_DAMAGED = "MessagesDamaged"
MESSAGES_LOST = "MessagesLost"
DAMPED = "Damped"
HISTORY_CUT = "HistoryCut"


class Conditions:
    """Each is set with words that say what to do, and cleared when it is over."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._set: dict[str, tuple[str, float, list[str]]] = {}

    def set(self, type: str, message: str, agents: Iterable[str] = ()) -> None:
        """`agents`: the names of those that it is about."""
        before, since, _ = self._set.get(type, ("", self._broker.clock.wall(), []))
        if before == message:
            return
        self._set[type] = (message, since, sorted(set(agents)))
        self._tell(type, message, holds=True)

    def clear(self, type: str) -> None:
        if self._set.pop(type, None) is not None:
            self._tell(type, "", holds=False)

    def listed(self) -> list[dict[str, Any]]:
        return [
            {"type": name, "message": message, "since": since, "agents": agents}
            for name, (message, since, agents) in sorted(self._set.items())
        ]

    def _tell(self, type: str, message: str, *, holds: bool) -> None:
        data = {"type": type, "status": "True" if holds else "False", "message": message}
        event = self._broker.event(None, "condition", data)
        self._broker.writer.post(Unit(events=(event,), vital=True))
