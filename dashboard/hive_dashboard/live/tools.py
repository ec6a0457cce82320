"""How many tools each turn used, for the line at its end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from hive_wire.protocol import Event

K = TypeVar("K")
TURNS = 1000  # that are remembered


class Tools:
    """Counts turns whose start was seen: of the others nobody here knows the number."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._running: dict[tuple[str | None, str | None], int] = {}
        self._ended: dict[int, int] = {}  # by the id of the event that ended it
        self.add(events)

    def add(self, events: Iterable[Event]) -> None:
        """Events in their order."""
        for event in events:
            turn = (event.agent, event.turn or event.data.get("turn"))
            if event.kind == "turn.started":
                self._running[turn] = 0
                _bound(self._running)
            elif event.kind == "tool_use" and turn in self._running:
                self._running[turn] += 1
            elif event.kind == "turn.ended" and turn in self._running:
                self._ended[event.id] = self._running.pop(turn)
                _bound(self._ended)

    def of(self, event: Event) -> int | None:
        """How many tools the turn used that `event` ended."""
        return self._ended.get(event.id)


def _bound(kept: dict[K, int]) -> None:
    if len(kept) > TURNS:
        del kept[next(iter(kept))]
