"""Long work in the event loop, in short slices: between two of them everything else goes on.

Work is a generator that yields wherever it may rest, as often as it likes, and returns what it
made. Meanwhile the world moves on, so it is made of frozen values, and who uses what it made
looks whether that is still about the present.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

from . import pauses

T = TypeVar("T")
Work = Generator[None, None, T]

SLICE = 0.004  # seconds


class Pace:
    """Of one coroutine that does much at a stretch."""

    def __init__(self) -> None:
        self._until = time.perf_counter() + SLICE

    async def rest(self) -> None:
        """Let everything else have its turn, where a slice is over."""
        if time.perf_counter() >= self._until:
            pauses.settle()
            await asyncio.sleep(0)
            self._until = time.perf_counter() + SLICE


async def in_slices(work: Work[T]) -> T:
    """What `work` returns."""
    pace = Pace()
    while True:
        try:
            next(work)
        except StopIteration as end:
            made: T = end.value
            return made
        await pace.rest()


def at_once(work: Work[T]) -> T:
    """The same where nobody waits meanwhile: in a thread, or when it is short."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            made: T = end.value
            return made
