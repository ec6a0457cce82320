"""What agents spent in the last day, from the ends of their turns."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from hive_wire.protocol import Event, Usage

DAY = 86400.0
MOST = 2000  # turns of one agent
SHOWN = 24  # turns whose tokens are kept one by one


@dataclass(frozen=True)
class Spent:
    """Of the last 24 hours. `tokens` and `usd` are sums; `last` the tokens of each of the last
    turns, oldest first; `context` what the conversation fills of the model's `window`, in tokens
    (0: unknown)."""

    turns: int = 0
    failed: int = 0
    tokens: int = 0
    usd: float = 0.0
    last: tuple[int, ...] = ()
    context: int = 0
    window: int = 0

    @property
    def filled(self) -> float | None:
        """How full the window is, 0 to 1."""
        return min(1.0, self.context / self.window) if self.context and self.window else None


@dataclass(frozen=True)
class _Turn:
    at: float
    tokens: int
    usd: float
    failed: bool
    context: int
    window: int


class Spending:
    def __init__(self) -> None:
        self._turns: dict[str, deque[_Turn]] = defaultdict(lambda: deque(maxlen=MOST))

    def load(self, events: Iterable[Event]) -> None:
        """Start anew from history, oldest first."""
        self._turns.clear()
        self.add(events)

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.kind == "turn.ended" and event.agent:
                self._turns[event.agent].append(_turn(event))

    def spent(self, now: float) -> dict[str, Spent]:
        """By uid; agents without a turn in the last day are left out."""
        found = {}
        for uid, turns in self._turns.items():
            recent = [turn for turn in turns if turn.at > now - DAY]
            if recent:
                found[uid] = Spent(
                    turns=len(recent),
                    failed=sum(turn.failed for turn in recent),
                    tokens=sum(turn.tokens for turn in recent),
                    usd=round(sum(turn.usd for turn in recent), 6),
                    last=tuple(turn.tokens for turn in recent[-SHOWN:]),
                    context=recent[-1].context,
                    window=recent[-1].window,
                )
        return found


def _turn(event: Event) -> _Turn:
    data = event.data
    usage = data.get("usage")
    fields = usage if isinstance(usage, dict) else {}
    tokens = sum(_number(fields.get(name)) for name in Usage.model_fields)
    return _Turn(
        event.at,
        int(tokens),
        _number(data.get("cost_usd")),
        data.get("outcome") == "failed",
        int(_number(data.get("context"))),
        int(_number(data.get("window"))),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 else 0.0
