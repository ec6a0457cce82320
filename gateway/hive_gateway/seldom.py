"""Words for the log that an agent can provoke: often the same ones, written seldom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

EVERY = 10.0  # seconds


class Seldom:
    """One line for each kind and agent in so many seconds; the next one says how many it
    stands for."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._written: dict[tuple[str, str], tuple[float, int]] = {}  # (when, left out since)

    def warning(self, uid: str, words: str, *values: object) -> None:
        """`words` is the kind, and takes `values`."""
        now = self._clock()
        last, left_out = self._written.get((uid, words), (-EVERY, 0))
        if now - last < EVERY:
            self._written[uid, words] = (last, left_out + 1)
            return
        self._written[uid, words] = (now, 0)
        more = f" (and {left_out} times before)" if left_out else ""
        self._log.warning(f"%s: {words}%s", uid, *values, more)
