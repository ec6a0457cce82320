"""A loop whose time passes only when nothing can be done, and a `time` module that follows it."""

import asyncio
import random
import selectors
from time import gmtime, strftime

EPOCH = 1_700_000_000.0


class _Jump(selectors.SelectSelector):
    """Nothing ever becomes readable: to wait is to let the time pass."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("nothing is left to wait for: a deadlock")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Threads run inline, at once."""

    def __init__(self):
        self._jump = _Jump()
        super().__init__(self._jump)
        self.unseen = []  # what went wrong in a task that nobody waited for

    def call_exception_handler(self, context):
        self.unseen.append(context.get("exception") or context["message"])

    def time(self):
        return self._jump.now

    def run_in_executor(self, executor, func, *args):
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - the future carries it
            done.set_exception(error)
        return done


class Clock:
    """Stands for the module `time` in the code under test. `jump` seconds were set by somebody."""

    def __init__(self, loop):
        self._loop = loop
        self.jump = 0.0

    def time(self):
        return EPOCH + self._loop.time() + self.jump

    def monotonic(self):
        return self._loop.time()

    localtime = staticmethod(gmtime)
    strftime = staticmethod(strftime)


class Tired:
    """Stands for `time` in what works in slices: any of its steps may be the last of a slice."""

    def __init__(self, seed):
        self._draw = random.Random(f"slices {seed}").random
        self._now = 0.0

    def perf_counter(self):
        if self._draw() < 0.02:
            self._now += 1.0
        return self._now
