"""A uid that comes back brings state, session and mail: only under its name, while they are kept."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator

from hive_wire.names import is_uid

from ..model.checks import Problem
from ..model.desired import Valid
from .errors import ReadFailed
from .reading import Reader
from .trees import Trees


def heirs(trees: Trees, reader: Reader, base: str, ours: str, merged: str) -> tuple[Problem, ...]:
    """Agents that a merge adds under the uid of one that is gone since `base`: on `base` each was
    a renaming, and would show as a new agent now."""
    come = [] if base == ours else [*_coming(trees, reader, ours, merged)]
    if not come:
        return ()
    gone = {uid: n for n in _only_in(trees, base, ours) if (uid := uid_in(trees, base, n))}
    return tuple(
        Problem(
            f"agents/{name}/agent.toml",
            f"has the uid of {gone[uid]}, which is gone since then: leave uid out, or bring that "
            f"one back with `hive revive {gone[uid]}`",
        )
        for name, uid in come
        if uid in gone
    )


def orphans(
    trees: Trees, reader: Reader, keeps: Callable[[str], bool], ours: str, merged: str
) -> tuple[Problem, ...]:
    """Agents that would come back and find nothing: each were another one under that uid.
    `keeps`: whether the state of a uid is there."""
    return tuple(
        Problem(
            "",
            f"nothing is kept of {name}, which would come back: it was purged, or never ran. Make "
            f"a new one with `hive spawn {name}`",
        )
        for name, uid in _coming(trees, reader, ours, merged)
        if not keeps(uid)
    )


def _coming(trees: Trees, reader: Reader, ours: str, merged: str) -> Iterator[tuple[str, str]]:
    """(name, uid) of the agents that a merge adds. What is wrong with others the checks say."""
    for name in _only_in(trees, merged, ours):
        try:
            entry = reader.agent(merged, name)
        except ReadFailed:
            return
        if isinstance(entry, Valid) and entry.spec.uid is not None:
            yield name, entry.spec.uid


def _only_in(trees: Trees, tree: str, other: str) -> list[str]:
    here, there = trees.differing(*(trees.subtree(side, "agents") for side in (tree, other)))
    return sorted(name for name in here.keys() - there.keys() if here[name].is_tree)


def uid_in(trees: Trees, tree: str, name: str) -> str | None:
    """Also of an agent whose files are bad by now."""
    try:
        raw = tomllib.loads((trees.file(tree, f"agents/{name}/agent.toml") or b"").decode())
    except (ValueError, RecursionError):
        return None
    uid = str(raw.get("uid", ""))
    return uid if is_uid(uid) else None
