"""Which state each agent was in during the last hour."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from hive_wire.protocol import Event

HOUR = 3600.0
MOST = 400  # changes of one agent


@dataclass(frozen=True)
class Span:
    """`start` and `end` in unix seconds."""

    start: float
    end: float
    state: str


class Lanes:
    def __init__(self) -> None:
        self._rows: dict[str, deque[tuple[float, str]]] = defaultdict(lambda: deque(maxlen=MOST))

    def load(self, events: Iterable[Event]) -> None:
        """Start anew from history, oldest first."""
        self._rows.clear()
        self.add(events)

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.kind == "state":
                self._rows[event.name].append((event.at, str(event.data.get("state", ""))))
            elif event.kind == "offline":
                self._rows[event.name].append((event.at, "offline"))

    def spans(self, now: float) -> dict[str, tuple[Span, ...]]:
        """By agent, the last hour before `now`; agents without a change in it are left out."""
        return {
            name: spans
            for name, rows in sorted(self._rows.items())
            if len(spans := _spans(list(rows), now)) > 1
        }


def _spans(rows: list[tuple[float, str]], now: float) -> tuple[Span, ...]:
    found: list[Span] = []
    for i, (at, state) in enumerate(rows):
        end = rows[i + 1][0] if i + 1 < len(rows) else now
        start = max(at, now - HOUR)
        if end <= now - HOUR or end <= start:
            continue
        if found and found[-1].state == state:
            found[-1] = Span(found[-1].start, end, state)
        else:
            found.append(Span(start, end, state))
    return tuple(found)
