"""Processes in the container: adopted orphans are reaped, whole trees are found and killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def become_subreaper() -> None:
    """Orphans of this process become its children, as they do for PID 1 anyway."""
    if os.getpid() != 1:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)


def dies_with_parent() -> Callable[[], None] | None:
    """A `preexec_fn` that lets the kernel kill the child when the harness dies.

    None for PID 1: its whole namespace dies with it.
    """
    if os.getpid() == 1:
        return None
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@dataclass(frozen=True)
class _Process:
    parent: int
    state: str
    born: float  # seconds since the machine started


def now() -> float:
    """Seconds since the machine started: the clock of `born` and of `since`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _table() -> dict[int, _Process]:
    """Every process that /proc shows."""
    ticks = os.sysconf("SC_CLK_TCK")
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text(errors="replace")
        except OSError:
            continue
        fields = stat[stat.rindex(")") + 2 :].split(" ")
        table[int(entry)] = _Process(int(fields[1]), fields[0], int(fields[19]) / ticks)
    return table


def resident_mib(pid: int) -> int:
    """MiB of memory that a process holds; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


def _below(table: dict[int, _Process], roots: Iterable[int]) -> set[int]:
    """All live processes below `roots`, without them. A zombie is not alive."""
    children: dict[int, list[int]] = {}
    for pid, process in table.items():
        children.setdefault(process.parent, []).append(pid)
    found: set[int] = set()
    frontier = list(roots)
    while frontier:
        for child in children.get(frontier.pop(), ()):
            if child not in found:
                found.add(child)
                frontier.append(child)
    return {pid for pid in found if table[pid].state not in "ZX"}


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue


def _collect(zombie: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(zombie, os.WNOHANG)


class Children:
    """Tells our own children, which asyncio waits for, from orphans that fell to us."""

    def __init__(self) -> None:
        self._own: set[int] = set()
        self._spawning = 0

    @contextlib.contextmanager
    def forking(self) -> Iterator[Callable[[int], None]]:
        """Around the start of a child; the given function takes its pid."""
        self._spawning += 1
        try:
            yield self._own.add
        finally:
            self._spawning -= 1

    async def disown(self, pid: int) -> None:
        """The child is dead and was waited for."""
        self._own.discard(pid)
        await self.reap()

    @contextlib.asynccontextmanager
    async def run(self, *argv: str, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
        """A child that runs inside the block; one that still lives at its end is killed."""
        with self.forking() as own:
            process = await asyncio.create_subprocess_exec(*argv, **options)
            own(process.pid)
        try:
            yield process
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()
            await self.disown(process.pid)

    async def reap(self) -> None:
        """Collect every dead orphan. Called at SIGCHLD."""
        table = await asyncio.to_thread(_table)
        if self._spawning:  # the new child may have died before its pid is known
            return
        me = os.getpid()
        for pid, process in table.items():
            if process.parent == me and process.state == "Z" and pid not in self._own:
                _collect(pid)

    async def strays(self, engine: int | None, since: float) -> set[int]:
        """What the engine, or an engine before it, started after `since` and left running.

        `engine` itself is not among them.
        """
        table = await asyncio.to_thread(_table)
        helpers = self._own - {engine}
        kept = self._own | _below(table, helpers)
        below = _below(table, [os.getpid()]) - kept
        # Ticks are coarse: what started in the same instant belongs to the turn.
        return {pid for pid in below if table[pid].born >= since - 0.02}

    async def kill_strays(
        self, engine: int | None, since: float = 0.0, seconds: float = 5.0
    ) -> bool:
        """Stop all strays, then kill them, so that none forks away. False if one survives."""
        deadline = time.monotonic() + seconds
        while strays := await self.strays(engine, since):
            if time.monotonic() > deadline:
                return False
            _signal(strays, signal.SIGSTOP)
            _signal(strays | await self.strays(engine, since), signal.SIGKILL)
            await asyncio.sleep(0.02)
            await self.reap()
        return True
