"""One thread for all git work: libgit2 objects must not be shared between threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from .errors import DiskFailed

P = ParamSpec("P")
T = TypeVar("T")


class GitThread:
    """Runs calls one after another in its own thread. Each call is therefore atomic here."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="git")

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of `call`. A cancelled wait does not stop a call that has begun.

        Raises DiskFailed for an OSError that `call` has no better words for."""
        future = self._executor.submit(call, *args, **kwargs)
        try:
            return await asyncio.wrap_future(future)
        except TimeoutError:
            raise
        except OSError as error:
            raise DiskFailed(error) from error

    def close(self) -> None:
        """Finish what is queued. Blocks for as long as that takes."""
        self._executor.shutdown(wait=True)
