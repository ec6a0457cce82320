"""Processes by (pid, start time): a number alone may mean another process tomorrow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """`start` is in clock ticks since boot, from /proc/PID/stat."""

    pid: int
    start: int


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None when there is none, or only a zombie."""
    found = _stat(pid)
    if found is None or found[0][0] in (b"Z", b"X"):
        return None
    return found[1]


def _stat(pid: int) -> tuple[list[bytes], Process] | None:
    """The fields from the state on, and whose they are; None when there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        stat = os.read(fd, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    fields = stat[stat.rindex(b")") + 2 :].split()  # the command may hold spaces and brackets
    return fields, Process(pid, int(fields[19]))


def alive(process: Process | None) -> bool:
    return process is not None and identify(process.pid) == process


def tree(process: Process) -> frozenset[Process]:
    """It and all that descend from it; who lost a parent in a container is its PID 1's child."""
    parents: dict[int, list[Process]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (found := _stat(int(name))) is not None:
            fields, one = found
            parents.setdefault(int(fields[1]), []).append(one)
    known, open_ = {process}, [process]
    while open_:
        below = parents.get(open_.pop().pid, [])
        open_.extend(one for one in below if one not in known)
        known.update(below)
    return frozenset(known)


def open_pidfd(process: Process) -> int | None:
    """A descriptor that becomes readable when it ends; None when it has. The caller closes it."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if alive(process):
        return fd
    os.close(fd)
    return None


def send(process: Process, number: signal.Signals) -> bool:
    """Signal exactly this process. False when it is gone."""
    fd = open_pidfd(process)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


async def ended(process: Process, seconds: float) -> bool:
    """Wait until it ends, at most `seconds`. True when it is gone."""
    fd = open_pidfd(process)
    if fd is None:
        return True
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(fd, done.set)
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(fd)
        os.close(fd)
    return True


def variable(process: Process, name: str) -> str | None:
    """A variable it was started with; None when unset or not ours to read."""
    with contextlib.suppress(OSError):
        for item in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
            key, _, value = item.partition(b"=")
            if key == name.encode():
                return value.decode(errors="replace")
    return None


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
