"""Python's collector of cycles, kept from stopping the process for long.

A whole collection looks at every object there is, and all else waits: a third of a second in a
swarm of ten thousand, whose values have no cycles and stay.
"""

from __future__ import annotations

import gc
import time
from typing import Any

LONG = 0.008  # seconds
OFTEN = (700, 10, 3)  # objects; then collections of the younger generation
OLDEST = 2  # the generation with which all others are collected


class _Heap:
    """After a collection that took long, what survived it is not looked at again. It is freed
    nevertheless when nothing holds it, as long as it is in no cycle."""

    def __init__(self) -> None:
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        if info["generation"] < OLDEST:
            return
        if phase == "start":
            self._began = time.thread_time()
        elif time.thread_time() - self._began > LONG:
            gc.freeze()


def keep_collections_short() -> None:
    """For this process, once all is imported."""
    gc.set_threshold(*OFTEN)  # or so much is new at once that even that takes long
    gc.collect()
    gc.freeze()
    gc.callbacks.append(_Heap())
