"""What merging a commit would give, now: the tree, its effect, its problems. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from hive_wire.hivetoml import HiveToml, ProposalClass

from ..model.checks import (
    IN_ALL,
    IN_ONE,
    MAX_FILE,
    Problem,
    file_problems,
    too_deep,
    too_many,
)
from ..model.desired import Entry, Unreadable, Valid
from ..model.effect import VERSION, Effect, Side, effect
from ..model.glue import FLAKE, LOCK, glue_problems
from ..model.policy import classes
from ..model.swarm import HostAbilities, swarm_problems
from ..model.tree import FileChange, agent_of
from .errors import ReadFailed
from .reading import Reader
from .returning import heirs
from .treemerge import merge_trees
from .trees import TooMany, Trees

K = TypeVar("K")
V = TypeVar("V")
_KEPT = 200
_MAX_KEPT = 64 << 20  # bytes of steps
# Directories and paths, before a comparison is given up: of one agent, and of all of them.
_COMPARED_IN_ONE = 8 * IN_ONE.files
_COMPARED_IN_ALL = 2 * IN_ALL.files + _COMPARED_IN_ONE


@dataclass(frozen=True)
class Step:
    """From one tree to another: what a person is shown, and what a digest is made of."""

    old: str
    new: str
    changes: tuple[FileChange, ...]
    effect: Effect
    problems: tuple[Problem, ...]
    classes: frozenset[ProposalClass]
    hive_before: HiveToml
    hive_after: HiveToml
    mended: Mapping[str, str | None]  # agents that could not be used before, with their uids


@dataclass(frozen=True)
class Conflicts:
    """It does not merge; somebody must rebase it."""

    paths: tuple[str, ...]


@dataclass(frozen=True)
class _Merged:
    tree: str
    heirs: tuple[Problem, ...]  # what no look at both trees alone could tell


class TooLarge(Exception):
    """So much differs that it is not even looked at."""

    def __init__(self, limit: int) -> None:
        super().__init__(str(too_many(limit)))


class Previews:
    """Computes steps and keeps the last ones. Used in the git thread, inside a scratch."""

    def __init__(self, trees: Trees, reader: Reader, host: HostAbilities) -> None:
        self._host = host
        self._trees = trees
        self._reader = reader
        self._merged: dict[tuple[str, str, str], _Merged | Conflicts] = {}
        self._steps: dict[tuple[str, str, int], Step] = {}
        self._kept = 0  # bytes of them

    def merge(self, base: str, ours: str, theirs: str) -> Step | Conflicts:
        """The step from tree `ours` to its merge with `theirs`. Raises TooLarge, ReadFailed."""
        key = (base, ours, theirs)
        found = self._merged.get(key)
        if found is None or (
            isinstance(found, _Merged) and (ours, found.tree, VERSION) not in self._steps
        ):
            self._bound(base, theirs, _COMPARED_IN_ALL)
            found = self._merge(base, ours, theirs)
            _keep(self._merged, key, found)
        if isinstance(found, Conflicts):
            return found
        step = self.step(ours, found.tree)
        return replace(step, problems=step.problems + found.heirs) if found.heirs else step

    def _merge(self, base: str, ours: str, theirs: str) -> _Merged | Conflicts:
        tree, paths = merge_trees(self._trees, base, ours, theirs)
        if paths:
            return Conflicts(paths)
        return _Merged(tree, heirs(self._trees, self._reader, base, ours, tree))

    def tree(self, base: str, ours: str, theirs: str) -> str:
        """The merged tree, present in the scratch. The caller knows that it merges."""
        return merge_trees(self._trees, base, ours, theirs)[0]

    def step(self, old: str, new: str, version: int = VERSION) -> Step:
        """With an effect of one of `effect.VERSIONS`. Raises TooLarge, and ReadFailed when `old`
        or an agent that differs cannot be read."""
        key = (old, new, version)
        found = self._steps.get(key)
        if found is None:
            found = self._compute(old, new, version)
            self._kept += _weight(found)
            while self._steps and (self._kept > _MAX_KEPT or len(self._steps) >= _KEPT):
                self._kept -= _weight(self._steps.pop(next(iter(self._steps))))
            self._steps[key] = found
        return found

    def bound_to_one(self, base: str, theirs: str) -> None:
        """What is to change one agent is not looked at beyond what that can be. Raises TooLarge."""
        self._bound(base, theirs, _COMPARED_IN_ONE)

    def _compute(self, old: str, new: str, version: int) -> Step:
        try:
            changes = self._trees.changes(old, new, limit=_COMPARED_IN_ALL, max_bytes=MAX_FILE)
        except TooMany:
            raise TooLarge(_COMPARED_IN_ALL) from None
        problems = file_problems(changes, self._siblings(new, changes))
        if any(change.path in (FLAKE, LOCK) for change in changes):
            problems += glue_problems(*(self._trees.file(new, path) for path in (FLAKE, LOCK)))
        before = self._reader.hive(old)
        try:
            after = self._reader.hive(new)
        except ReadFailed as error:
            after = before
            problems.append(Problem("hive.toml", error.message))
        agents_before = self._reader.agents(old, before)
        agents_after = self._reader.agents(new, after)
        touched = {name for change in changes if (name := agent_of(change.path)) is not None}
        if before.defaults != after.defaults:
            touched = agents_before.keys() | agents_after.keys()
        was, will = _only(agents_before, touched), _only(agents_after, touched)
        for name, entry in (*was.items(), *will.items()):
            if isinstance(entry, Unreadable):  # no agent without settings: look again
                raise ReadFailed(f"agents/{name} cannot be read: {entry.error}")
        rolls = self._reader.roll(old, before), self._reader.roll(new, after)
        problems += swarm_problems(was, will, rolls, before.policy, self._host)
        return Step(
            old,
            new,
            changes,
            effect(changes, Side(before, was), Side(after, will), version),
            tuple(problems),
            classes(changes, was, will),
            before,
            after,
            _mended(was, will),
        )

    def _bound(self, base: str, theirs: str, limit: int) -> None:
        """A merge opens what differs: refuse what would expand before it does."""
        try:
            self._trees.changed(base, theirs, limit)
        except TooMany:
            raise TooLarge(limit) from None

    def _siblings(self, tree: str, changes: Sequence[FileChange]) -> list[str]:
        """The paths beside changed ones. Agents' names are lower case by their own rule."""
        folders = {
            "/".join(parts[:depth])
            for change in changes
            if change.new is not None and not too_deep(change.path)
            for parts in [change.path.split("/")]
            for depth in range(len(parts))
        }
        return [
            f"{folder}/{name}".lstrip("/")
            for folder in sorted(folders - {"agents"})
            for name in self._trees.entries(self._trees.subtree(tree, folder) if folder else tree)
        ]


def _only(agents: Mapping[str, Entry], names: set[str]) -> dict[str, Entry]:
    return {name: agents[name] for name in names if name in agents}


def _mended(was: Mapping[str, Entry], will: Mapping[str, Entry]) -> dict[str, str | None]:
    return {
        name: entry.spec.uid
        for name, entry in will.items()
        if isinstance(entry, Valid) and name in was and not isinstance(was[name], Valid)
    }


def _weight(step: Step) -> int:
    """Bytes, about."""
    sides = (side for change in step.changes for side in (change.old, change.new))
    return sum(1000 + len(side.data or b"") for side in sides if side is not None)


def _keep(kept: dict[K, V], key: K, value: V) -> None:
    while len(kept) >= _KEPT:
        kept.pop(next(iter(kept)))
    kept[key] = value
