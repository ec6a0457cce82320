"""Named wake-ups, at steady times or at times of the wall clock. Setting one anew moves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable

from ..core.clock import Clock

LONGEST_SLEEP = 3600.0
LOOK = 20.0  # seconds between two looks at the clock on the wall
JUMP = 1.0  # seconds; a clock that is put right slowly is none

Ring = Callable[[], None]


class Alarms:
    """Each rings once, on the loop, when its time has come.

    A dated one is set anew when the wall clock jumped: somebody set it, or the machine slept.
    No system call tells of both, so while there are dated ones the clock is looked at.
    """

    def __init__(self, clock: Clock, look: float = LOOK) -> None:
        self._clock = clock
        self._look = look
        self._set: dict[Hashable, asyncio.TimerHandle] = {}
        self._dated: dict[Hashable, tuple[float, Ring]] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._ahead = 0.0  # of the steady clock, at the last look

    def set(self, name: Hashable, when: float, ring: Ring) -> None:
        """`when` in steady seconds."""
        self.cancel(name)
        self._arm(name, when, ring)

    def set_dated(self, name: Hashable, when: float, ring: Ring) -> None:
        """`when` in unix seconds."""
        self.cancel(name)
        self._dated[name] = (when, ring)
        self._arm(name, self._clock.steady_at(when), ring)
        if self._watch is None:
            self._ahead = self._clock.wall() - self._clock.steady()
            self._watch = asyncio.get_running_loop().call_later(self._look, self._look_up)

    def cancel(self, name: Hashable) -> None:
        self._dated.pop(name, None)
        handle = self._set.pop(name, None)
        if handle is not None:
            handle.cancel()

    def close(self) -> None:
        for handle in self._set.values():
            handle.cancel()
        self._set.clear()
        self._dated.clear()
        if self._watch is not None:
            self._watch.cancel()

    def _arm(self, name: Hashable, when: float, ring: Ring) -> None:
        delay = min(max(when - self._clock.steady(), 0.0), LONGEST_SLEEP)
        loop = asyncio.get_running_loop()
        self._set[name] = loop.call_later(delay, self._check, name, when, ring)

    def _check(self, name: Hashable, when: float, ring: Ring) -> None:
        if when > self._clock.steady():
            self._arm(name, when, ring)
        else:
            del self._set[name]
            self._dated.pop(name, None)
            ring()

    def _look_up(self) -> None:
        self._watch = None
        if not self._dated:
            return
        ahead = self._clock.wall() - self._clock.steady()
        if abs(ahead - self._ahead) > JUMP:
            self._ahead = ahead
            for name, (when, ring) in list(self._dated.items()):
                self.set_dated(name, when, ring)
        else:
            self._watch = asyncio.get_running_loop().call_later(self._look, self._look_up)
