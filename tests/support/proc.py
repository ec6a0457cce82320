"""What /proc says of all processes; those that end meanwhile are left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    pid: int
    command: tuple[str, ...]
    environment: bytes
    groups: str  # /proc/PID/cgroup
    inner_pid: int  # in its own pid namespace
    parent: int
    uid: int

    def names(self, *words: str) -> bool:
        return all(word in self.command for word in words)


def processes() -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
                status = (entry / "status").read_text()
                environment = (entry / "environ").read_bytes()
                groups = (entry / "cgroup").read_text()
            except OSError:
                continue
            lines = dict(line.split(":", 1) for line in status.splitlines())
            inner = int(lines["NSpid"].split()[-1])
            parent, uid = int(lines["PPid"]), int(lines["Uid"].split()[0])
            words = tuple(os.fsdecode(command).rstrip("\0").split("\0"))
            yield Process(int(entry.name), words, environment, groups, inner, parent, uid)


def descendants(pid: int) -> list[Process]:
    """Children of a process, theirs, and so on."""
    everybody = list(processes())
    found: list[Process] = []
    parents = {pid}
    while new := [p for p in everybody if p.parent in parents and p not in found]:
        found += new
        parents |= {process.pid for process in new}
    return found
