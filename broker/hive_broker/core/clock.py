"""The two clocks. Waits go by the steady one, which no one can set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """`wall` gives unix seconds for people and for the disk; `steady` seconds that only grow."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic

    def steady_at(self, wall: float) -> float:
        """The steady time of a wall time that was read from disk or heard from outside."""
        return self.steady() + (wall - self.wall())
