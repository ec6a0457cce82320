"""Named wake-ups at steady times. Setting one anew moves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from ..core.clock import Clock

LONGEST_SLEEP = 3600.0


class Alarms:
    """Each rings once, on the loop, when its steady time has come."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._set: dict[Hashable, asyncio.TimerHandle] = {}

    def set(self, name: Hashable, when: float, ring: Callable[[], None]) -> None:
        self.cancel(name)
        delay = min(max(when - self._clock.steady(), 0.0), LONGEST_SLEEP)
        loop = asyncio.get_running_loop()
        self._set[name] = loop.call_later(delay, self._check, name, when, ring)

    def cancel(self, name: Hashable) -> None:
        handle = self._set.pop(name, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        for handle in self._set.values():
            handle.cancel()
        self._set.clear()

    def _check(self, name: Hashable, when: float, ring: Callable[[], None]) -> None:
        if when > self._clock.steady():
            self.set(name, when, ring)
        else:
            del self._set[name]
            ring()
