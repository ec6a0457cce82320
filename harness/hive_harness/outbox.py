"""Rows on their way to the broker: numbered, kept until it has them on disk, bounded.

When the broker is away for long, the rows that matter least are given up first, and a
`gap` row says how many.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from .rows import Row, size

MAX_HELD = 4 << 20  # bytes of rows that the broker does not have
MAX_BATCH = 256 << 10  # bytes of one `stream` call
_CHEAP = frozenset({"engine", "stderr", "thinking"})

_Held = tuple[int, int, dict[str, Any]]  # n, bytes, the row


class Outbox:
    """Rows of one boot. `n` counts up from 1 and never goes back."""

    def __init__(self, limit: int = MAX_HELD) -> None:
        self._limit = limit
        self._rows: deque[_Held] = deque()
        self._bytes = 0
        self._n = 0
        self._sent = 0  # the last row that was sent on this connection
        self._lost = 0

    def add(self, row: Row, turn: str | None, at: float) -> None:
        """Take a row in; `at` is unix seconds."""
        self._n += 1
        self._hold({"n": self._n, "turn": turn, "kind": row.kind, "data": row.data, "at": at})
        if self._bytes > self._limit:
            self._give_up(at)

    def batch(self) -> list[dict[str, Any]]:
        """The next rows to send on this connection, not too many for one call; none: []."""
        batch: list[dict[str, Any]] = []
        size = 0
        for n, weight, row in self._rows:
            if n <= self._sent:
                continue
            if batch and size + weight > MAX_BATCH:
                break
            batch.append(row)
            size += weight
        if batch:
            self._sent = batch[-1]["n"]
        return batch

    def acknowledge(self, n: int) -> None:
        """The broker has everything up to `n` on disk."""
        while self._rows and self._rows[0][0] <= n:
            _, weight, row = self._rows.popleft()
            self._bytes -= weight
            if row["kind"] == "gap":
                self._lost = 0

    def reconnected(self, acked: int) -> None:
        """A new connection: send again from the row after `acked`."""
        self.acknowledge(acked)
        self._sent = acked

    def _hold(self, row: dict[str, Any]) -> None:
        weight = size(row)
        self._rows.append((row["n"], weight, row))
        self._bytes += weight

    def _give_up(self, at: float) -> None:
        """Drop to half of the limit, cheap rows first and old ones first."""
        kept = list(self._rows)
        for cheap in (True, False):
            rest = []
            for held in kept:
                over = self._bytes > self._limit // 2 and held[2]["kind"] != "gap"
                if over and (held[2]["kind"] in _CHEAP or not cheap):
                    self._bytes -= held[1]
                    self._lost += 1
                else:
                    rest.append(held)
            kept = rest
        self._rows = deque(held for held in kept if held[2]["kind"] != "gap")
        self._bytes = sum(held[1] for held in self._rows)
        self._n += 1
        gap = {"n": self._n, "turn": None, "kind": "gap", "data": {"lost": self._lost}, "at": at}
        self._hold(gap)
