"""Reminders: what an agent may write for a time, and when one is due. Pure; unix seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

SHORTEST_EVERY = 60.0
LONGEST = 366 * 86400.0
MOST = 100  # reminders that one agent may have
MOST_BYTES = 256 << 10  # of all their texts: each may come every minute

_SPAN = re.compile(r"\+?(\d{1,6})\s*(s|m|h|d)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class BadTime(ValueError):
    """The text is no time or span that is accepted; says what is."""


@dataclass(frozen=True, slots=True)
class Reminder:
    """`due` is the next time; `every` the seconds between, None for once. `dated` goes by the
    clock on the wall, also when somebody sets that; what began with a span does not."""

    id: int
    uid: str
    body: str
    due: float
    every: float | None
    dated: bool = True

    def after(self, now: float) -> Reminder | None:
        """What is left once it rang at `now`. Times that passed unheard ring once, and a clock
        that was set back keeps nobody waiting."""
        if self.every is None:
            return None
        missed = max(0, int((now - self.due) // self.every))
        due = min(self.due + (missed + 1) * self.every, now + self.every)
        return replace(self, due=due, dated=False)


def parse_span(text: str) -> float:
    """Seconds of "90s", "10m", "2h", "1d". Raises BadTime."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise BadTime(f'{text[:40]!r} is no span: write "90s", "10m", "2h" or "1d"')
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST:
        raise BadTime(f"{text[:40]!r} is more than a year away")
    return seconds


def is_span(text: str) -> bool:
    return _SPAN.fullmatch(text.strip()) is not None


def parse_at(text: str, now: float) -> float:
    """Unix seconds of an ISO time with offset, or of a span from `now`. Raises BadTime."""
    if is_span(text):
        return now + parse_span(text)
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadTime(
            f'{text[:40]!r} is no time: write "2031-05-01T09:00:00Z", or a span as "10m"'
        ) from None
    if when.tzinfo is None:
        raise BadTime(f'{text[:40]!r} has no offset: end it with "Z" for UTC or with "+02:00"')
    if not now < when.timestamp() <= now + LONGEST:
        stamp = datetime.fromtimestamp(now, when.tzinfo).isoformat(timespec="seconds")
        raise BadTime(f"{text[:40]!r} is not within the year ahead; it is {stamp} now")
    return when.timestamp()


def parse_every(text: str) -> float:
    """Seconds between, at least a minute. Raises BadTime."""
    seconds = parse_span(text)
    if seconds < SHORTEST_EVERY:
        raise BadTime("every is at least 1m")
    return seconds
