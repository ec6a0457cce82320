"""Python's interpreter, kept from stopping the event loop for long.

**By its collector of cycles.** A whole collection looks at every object there is, and all else waits: a third of a second in a
swarm of ten thousand, whose values have no cycles and stay. And as Python counts what is freed
against what is made, it lets hundreds of thousands of new objects come together where a swarm's
values are replaced, to look at them all at once.

What survived here is not looked at again. It is freed nevertheless when nothing holds it, as long
as it is in no cycle.

**By its lock.** After each call to the system the loop waits for the lock as long as a thread that
computes may keep it, so many times in a second that starts took 2.4 times as long in a swarm of
ten thousand.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from typing import Any

LONG = 0.004  # seconds
OFTEN = (700, 10, 1)  # objects; then collections of the younger generation
SWITCH = 0.0005  # seconds that a thread keeps the lock while another waits; Python's own: 0.005
OLDEST = 2  # the generation with which all others are collected
_kept = threading.Event()


class _Heap:
    """Ends the looking at what survived a collection that took long."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        if info["generation"] < OLDEST:
            return
        if phase == "start":
            self._began = time.thread_time()
        elif time.thread_time() - self._began > LONG:
            gc.freeze()
            # Of next to nothing; Python's next whole one waits for a quarter more than it last saw.
            self._loop.call_soon_threadsafe(gc.collect)


def keep_short() -> None:
    """For this process and its running loop, once all is imported."""
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(*OFTEN)  # or so much is new at once that even that takes long
    gc.collect()
    gc.freeze()
    gc.callbacks.append(_Heap(asyncio.get_running_loop()))
    _kept.set()


def settle() -> None:
    """Amid work that takes long, often: while what is new is little. Only where pauses are kept
    short."""
    if _kept.is_set():
        gc.collect(0)
        gc.freeze()
