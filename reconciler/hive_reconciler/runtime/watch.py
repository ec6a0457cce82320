"""Tells which container changed, by pidfds: nothing is polled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from .processes import Process, open_pidfd


class Watch:
    """Calls back with a container's name when one of its processes ends."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        self._on_change = on_change
        self._fds: dict[tuple[str, Process], int] = {}
        self._loop = asyncio.get_running_loop()

    def add(self, name: str, processes: tuple[Process, ...]) -> None:
        for process in processes:
            if (name, process) in self._fds:
                continue
            fd = open_pidfd(process)
            if fd is None:
                self._loop.call_soon(self._on_change, name)
                continue
            self._fds[name, process] = fd
            self._loop.add_reader(fd, self._ended, name, process)

    def _ended(self, name: str, process: Process) -> None:
        self._drop((name, process))
        self._on_change(name)

    def _drop(self, key: tuple[str, Process]) -> None:
        fd = self._fds.pop(key)
        self._loop.remove_reader(fd)
        os.close(fd)

    def close(self) -> None:
        for key in list(self._fds):
            self._drop(key)
