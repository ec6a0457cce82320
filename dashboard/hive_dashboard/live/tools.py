"""Which tool a result belongs to and how long it took; how many each turn used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from hive_wire.protocol import Event

K = TypeVar("K")
V = TypeVar("V")
TURNS = 1000  # that are remembered


class Use(NamedTuple):
    """Of the result of a tool: the tool's name, and how many seconds it took."""

    name: str
    seconds: float


class Tools:
    """Counts turns whose start was seen: of the others nobody here knows the number."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._running: dict[tuple[str | None, str | None], int] = {}
        self._ended: dict[int, int] = {}  # by the id of the event that ended it
        self._begun: dict[tuple[str | None, str], tuple[str, float]] = {}  # by agent, tool's id
        self._uses: dict[int, Use] = {}  # by the id of the result's event
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
            if event.kind in ("tool_use", "tool_result"):
                self._note(event)

    def _note(self, event: Event) -> None:
        key = (event.agent, str(event.data.get("id")))
        if event.kind == "tool_use":
            self._begun[key] = (str(event.data.get("name", "")), event.at)
            _bound(self._begun)
        elif key in self._begun:
            name, at = self._begun.pop(key)
            self._uses[event.id] = Use(name, max(0.0, event.at - at))
            _bound(self._uses)

    def use(self, event: Event) -> Use | None:
        """What the result in `event` is of."""
        return self._uses.get(event.id)

    def of(self, event: Event) -> int | None:
        """How many tools the turn used that `event` ended."""
        return self._ended.get(event.id)


def _bound(kept: dict[K, V]) -> None:
    if len(kept) > TURNS:
        del kept[next(iter(kept))]
