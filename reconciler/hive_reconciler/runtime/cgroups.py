"""One control group per container: limits, use, and the only sure way to end what lives in it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .hierarchies import WANTED, Tree, trees

PERIOD = 100_000  # microseconds, the kernel's default
LIMITS = {"memory": "memory", "pids": "tasks", "cpu": "cpus"}  # controller -> key of agent.toml
_CPU_FILES = {
    1: ("cpu.cfs_quota_us", "cpu.cfs_burst_us"),
    2: ("cpu.max", "cpu.max.burst"),
}
KILL_FILE = "cgroup.kill"  # since Linux 5.14
SHIMS = ".shims"  # supervisors that no container's limit may hit
GROUPS_INSIDE, DEPTH_INSIDE = 100, 8
_NONE = -1


class LimitRefused(Exception):
    """The kernel did not take a limit; the message says which."""


@dataclass(frozen=True)
class Group:
    """The same group in every tree that we use."""

    name: str
    places: tuple[tuple[Tree, Path], ...]

    def make(self) -> None:
        """Make it in every tree. Raises OSError."""
        for tree, path in self.places:
            for parent in (tree.base, path.parent):
                parent.mkdir(exist_ok=True)
                if tree.version == 2:
                    _enable(parent, tree.controllers)
            path.mkdir(exist_ok=True)
            if tree.version == 2:  # groups made inside cost kernel memory and our walks
                for file, value in (("descendants", GROUPS_INSIDE), ("depth", DEPTH_INSIDE)):
                    with contextlib.suppress(OSError):
                        (path / f"cgroup.max.{file}").write_text(str(value))

    def doors(self) -> tuple[str, ...]:
        """Files that a process writes its pid into, to enter."""
        return tuple(str(path / "cgroup.procs") for _, path in self.places)

    def unenforced(self) -> tuple[str, ...]:
        """Limits, by their names in agent.toml, that no controller here holds."""
        return tuple(sorted(LIMITS[c] for c in WANTED if self._of(c) is None))

    def limit(self, memory: int, cpus: float, tasks: int) -> None:
        """Set what can be set; memory in bytes. Raises LimitRefused."""
        quota = max(1000, int(cpus * PERIOD))
        if (place := self._of("memory")) is not None:
            _limit_memory(*place, memory)
        if (place := self._of("pids")) is not None:
            _write(place[1] / "pids.max", tasks, "tasks")
        if (place := self._of("cpu")) is not None:
            _limit_cpu(*place, quota)

    def memory(self) -> int | None:
        """Bytes in use."""
        place = self._of("memory")
        if place is None:
            return None
        file = "memory.current" if place[0].version == 2 else "memory.usage_in_bytes"
        return _number(place[1] / file)

    def tasks(self) -> int | None:
        """Processes and threads."""
        place = self._of("pids")
        return None if place is None else _number(place[1] / "pids.current")

    def oom_file(self) -> Path | None:
        """Where the kernel counts `oom_kill`."""
        place = self._of("memory")
        if place is None:
            return None
        return place[1] / ("memory.events" if place[0].version == 2 else "memory.oom_control")

    def exists(self) -> bool:
        return any(path.is_dir() for _, path in self.places)

    def pids(self) -> frozenset[int]:
        """Every process in it, in any tree and at any depth."""
        return frozenset(pid for _, path in self.places for pid in _pids(path))

    def kill(self, below: str = "") -> None:
        """KILL all that is in it (or in its child `below`); what forks meanwhile dies too."""
        for tree, path in self.places:
            if tree.version == 2 and (path / below / KILL_FILE).exists():
                with contextlib.suppress(OSError):
                    (path / below / KILL_FILE).write_text("1")
        if below:
            return
        pids = self._of("pids")
        deadline = time.monotonic() + 5
        while (left := self.pids()) and time.monotonic() < deadline:
            if pids is not None:  # older kernels: end forking first, or a fork bomb outruns us
                with contextlib.suppress(OSError):
                    (pids[1] / "pids.max").write_text("0")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)

    def remove(self) -> bool:
        """Remove it from every tree. False while something lives in it."""
        deadline = time.monotonic() + 2
        while sum(not _remove(path) for _, path in self.places):
            if self.pids() or time.monotonic() > deadline:
                return False
            time.sleep(0.005)  # the kernel takes a moment to forget the dead
        return True

    def _of(self, controller: str) -> tuple[Tree, Path] | None:
        """Where this controller really works: in v2 it may be listed and yet not enabled."""
        probe = {"memory": ("memory.limit_in_bytes", "memory.max"), "pids": ("pids.max",) * 2}
        v1, v2 = probe.get(controller, ("cpu.cfs_quota_us", "cpu.max"))
        for tree, path in self.places:
            if controller in tree.controllers:
                file = path / (v2 if tree.version == 2 else v1)
                if file.exists() or not path.exists():
                    return tree, path
        return None


class Groups:
    """All groups of one root: `hive<tag>/<name>`."""

    def __init__(self, tag: str, found: tuple[Tree, ...] | None = None) -> None:
        self._folder = f"hive{tag}"
        self._found = found

    @cached_property
    def _trees(self) -> tuple[Tree, ...]:
        return trees() if self._found is None else self._found

    def group(self, name: str) -> Group:
        return Group(name, tuple((tree, tree.base / self._folder / name) for tree in self._trees))

    def shims(self) -> Group:
        return self.group(SHIMS)

    def names(self) -> frozenset[str]:
        """Groups that exist now."""
        found = set()
        for tree in self._trees:
            with contextlib.suppress(FileNotFoundError):
                for entry in os.scandir(tree.base / self._folder):
                    if entry.is_dir(follow_symlinks=False) and entry.name != SHIMS:
                        found.add(entry.name)
        return frozenset(found)

    def tidy(self) -> None:
        """Remove the folder itself once nothing is left in it."""
        if self.names() or not self.shims().remove():
            return
        for tree in self._trees:
            with contextlib.suppress(OSError):
                (tree.base / self._folder).rmdir()


def _enable(parent: Path, controllers: frozenset[str]) -> None:
    for controller in controllers:  # one by one: a refusal of one must not cost the others
        with contextlib.suppress(OSError):
            (parent / "cgroup.subtree_control").write_text(f"+{controller}")


def _limit_memory(tree: Tree, path: Path, memory: int) -> None:
    if tree.version == 2:
        _write(path / "memory.max", memory, "memory")
        if (path / "memory.swap.max").exists():
            _write(path / "memory.swap.max", 0, "memory")
        return
    # With swap counted, limit_in_bytes may never pass memsw: raise that first, lower it last.
    swap = path / "memory.memsw.limit_in_bytes"
    if swap.exists():
        _write(swap, _NONE, "memory")
    _write(path / "memory.limit_in_bytes", memory, "memory")
    if swap.exists():
        _write(swap, memory, "memory")


def _limit_cpu(tree: Tree, path: Path, quota: int) -> None:
    """One period's worth that was not used may be used later: an engine that is resumed after a
    rest needs more than one core for a moment, and is not held up."""
    file, burst = _CPU_FILES[tree.version]
    _may_burst(path / burst, 0)  # it must never be above the quota
    _write(path / file, f"{quota} {PERIOD}" if tree.version == 2 else quota, "cpus")
    _may_burst(path / burst, quota)


def _may_burst(file: Path, microseconds: int) -> None:
    with contextlib.suppress(OSError):  # since Linux 5.14
        if file.exists():
            file.write_text(str(microseconds))


def _write(file: Path, value: object, limit: str) -> None:
    try:
        file.write_text(str(value))
    except OSError as error:
        raise LimitRefused(
            f"the kernel refuses {limit} = {value}: {error.strerror} ({file.name})"
        ) from error


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _pids(path: Path) -> set[int]:
    found: set[int] = set()
    for folder, _, files in os.walk(path):
        if "cgroup.procs" in files:
            with contextlib.suppress(OSError):  # it may go while we look
                text = Path(folder, "cgroup.procs").read_text()
                found.update(int(pid) for pid in text.split() if pid != "0")
    return found


def _remove(path: Path) -> bool:
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    return not path.exists()
