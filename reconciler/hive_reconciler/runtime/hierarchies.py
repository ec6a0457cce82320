"""Which cgroup trees this machine has and which of them are ours to write: v1, v2, both."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

WANTED = ("memory", "pids", "cpu")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Tree:
    """One mounted hierarchy. `base` is the directory under which we may make groups."""

    base: Path
    version: int  # 1 or 2
    controllers: frozenset[str]  # of WANTED; empty for pure tracking

    def __post_init__(self) -> None:
        assert self.version in (1, 2)


def trees(
    mountinfo: str | None = None, own: str | None = None, *, root: bool | None = None
) -> tuple[Tree, ...]:
    """The trees we can use, by default of this machine and this user.

    Root uses each mount's top; a user only what was delegated to it, and only in v2.
    """
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    mine = Path("/proc/self/cgroup").read_text() if own is None else own
    as_root = os.geteuid() == 0 if root is None else root
    found = []
    for mount, kind, options in _mounts(text):
        if kind == "cgroup2":
            base = mount if as_root else _delegated(mount, mine)
            if base is not None and os.access(base, os.W_OK):
                found.append(Tree(base, 2, _v2_controllers(base)))
        elif as_root and os.access(mount, os.W_OK):
            controllers = frozenset(options) & frozenset(WANTED)
            if controllers or "name=systemd" in options:  # nspawn keeps its own place there
                found.append(Tree(mount, 1, controllers))
    return tuple(found)


def _mounts(text: str) -> list[tuple[Path, str, list[str]]]:
    found: dict[tuple[str, str], tuple[Path, str, list[str]]] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(fields) < 5 or len(tail) < 3 or tail[0] not in ("cgroup", "cgroup2"):
            continue
        mount = Path(_OCTAL.sub(lambda m: chr(int(m[1], 8)), fields[4]))
        # The same hierarchy may be mounted twice; one is enough.
        found.setdefault((tail[0], fields[2]), (mount, tail[0], tail[2].split(",")))
    return list(found.values())


def _v2_controllers(base: Path) -> frozenset[str]:
    try:
        listed = (base / "cgroup.controllers").read_text().split()
    except OSError:
        return frozenset()
    return frozenset(listed) & frozenset(WANTED)


def _delegated(mount: Path, own: str) -> Path | None:
    """The highest directory above our own group that we may write: where a manager put us."""
    line = next((line for line in own.splitlines() if line.startswith("0::")), None)
    if line is None:
        return None
    path = mount / line[3:].lstrip("/")
    best = None
    while path != mount and mount in path.parents:
        if not os.access(path, os.W_OK) or not os.access(path / "cgroup.procs", os.W_OK):
            break
        best, path = path, path.parent
    return best
