"""Turns an hour and USD a day of one agent, over sliding windows. Pure; steady seconds."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hive_wire.protocol import Usage
from hive_wire.terms import Budget

HOUR = 3600.0
DAY = 86400.0

# USD per million tokens, for a gateway that counted tokens and named no price.
INPUT, OUTPUT, CACHE_READ, CACHE_WRITE = 3.0, 15.0, 0.3, 3.75


def price(usage: Usage) -> float:
    """USD of `usage` at the prices above."""
    micro = (
        usage.input_tokens * INPUT
        + usage.output_tokens * OUTPUT
        + usage.cache_read_tokens * CACHE_READ
        + usage.cache_write_tokens * CACHE_WRITE
    )
    return micro / 1e6


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that is reached: words for people, and when (steady) it eases."""

    reason: str
    until: float


class Window:
    """Amounts of the last `length` seconds."""

    def __init__(self, length: float) -> None:
        self._length = length
        self._rows: deque[tuple[float, float]] = deque()  # (when it no longer counts, amount)
        self.total = 0.0

    def add(self, at: float, amount: float) -> None:
        self._rows.append((at + self._length, amount))
        self.total += amount

    def expire(self, now: float) -> None:
        while self._rows and self._rows[0][0] <= now:
            self.total -= self._rows.popleft()[1]
        if not self._rows:
            self.total = 0.0

    def below(self, limit: float, now: float) -> float:
        """When the total is below `limit` again, if nothing is added."""
        left = self.total
        for expires, amount in self._rows:
            left -= amount
            if left < limit:
                return expires
        return now + self._length


class Spending:
    """What an agent used. USD is the larger of the harness's claim and the gateway's count."""

    def __init__(self) -> None:
        self.turns = Window(HOUR)
        self.claimed = Window(DAY)
        self.metered = Window(DAY)

    def limit(self, budget: Budget, now: float) -> Limit | None:
        """The limit that is reached now, if any."""
        for window in (self.turns, self.claimed, self.metered):
            window.expire(now)
        if self.turns.total >= budget.turns_per_hour:
            reason = f"budget: {budget.turns_per_hour} turns an hour are used up"
            return Limit(reason, self.turns.below(budget.turns_per_hour, now))
        dearest = max(self.claimed, self.metered, key=lambda window: window.total)
        if dearest.total >= budget.usd_per_day:
            reason = f"budget: {budget.usd_per_day:g} USD a day are used up"
            return Limit(reason, dearest.below(budget.usd_per_day, now))
        return None
