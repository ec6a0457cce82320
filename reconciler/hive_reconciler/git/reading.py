"""From a commit to desired state. What did not change is not read again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from hive_wire.hivetoml import HiveToml
from hive_wire.names import name_problem
from hive_wire.parse import SpecError, SpecProblem, parse_agent, parse_hive
from hive_wire.spec import AgentSpec

from ..model.desired import Desired, Entry, Invalid, Unreadable, Valid
from ..model.layered import Layered
from ..model.swarm import Roll
from ..model.version import VERSION
from .errors import ReadFailed
from .parsed import Parsed
from .trees import EMPTY, Trees

K = TypeVar("K")
V = TypeVar("V")
MAX_PROMPT = 256 << 10  # bytes
NIX_SHARED = ("flake.nix", "flake.lock", "modules")
_CACHED = 8


@dataclass(frozen=True)
class _Shared:
    """What the revision of every agent depends on."""

    defaults: Mapping[str, Any]
    digest: str


@dataclass(frozen=True)
class _Whole:
    """All agents of one directory."""

    folder: str  # the OID of agents/
    agents: Layered[str, Entry]
    roll: Roll
    fresh: tuple[str, ...]  # what was looked at this time; the rest is known to be readable


NOTHING = _Whole(EMPTY, Layered(), Roll(), ())


class Reader:
    """Reads trees to values. Used in the git thread only."""

    def __init__(self, trees: Trees, parsed: Parsed, *, runtime_reads_nix: bool) -> None:
        self._trees = trees
        self._parsed = parsed
        self._nix = runtime_reads_nix
        self._hive: dict[str, HiveToml] = {}
        self._read: dict[
            tuple[str, str], _Whole
        ] = {}  # by the OID of agents/ and the shared digest
        self._last: dict[str, _Whole] = {}  # by the shared digest

    def hive(self, tree: str) -> HiveToml:
        """hive.toml of a tree. Raises ReadFailed: without it nothing can be concluded."""
        found = self._trees.entry(tree, "hive.toml")
        if found is None or found.is_tree:
            raise ReadFailed("hive.toml is missing; put it back by a revert")
        known = self._hive.get(found.oid)
        if known is None:
            try:
                known = parse_hive(self._trees.blob(found.oid))
            except SpecError as error:
                raise ReadFailed(f"hive.toml cannot be used: {error}") from None
        _keep(self._hive, found.oid, known)
        return known

    def desired(self, commit: str, tree: str, allow_prune: int) -> Desired:
        """The desired state of a tree. Raises ReadFailed; one bad agent is an entry, no error."""
        hive = self.hive(tree)
        return Desired(commit, hive, self.agents(tree, hive), allow_prune)

    def agents(self, tree: str, hive: HiveToml) -> Mapping[str, Entry]:
        """Every directory under agents/ with what it says."""
        return self._whole(tree, hive).agents

    def roll(self, tree: str, hive: HiveToml) -> Roll:
        """Who is manager and who bears which uid."""
        return self._whole(tree, hive).roll

    def agent(self, tree: str, name: str) -> Entry | None:
        """One agent of a tree, or None. Raises ReadFailed."""
        found = self._trees.entry(tree, f"agents/{name}")
        if found is None or not found.is_tree:
            return None
        shared = self._shared(tree, self.hive(tree))
        last = self._last.get(shared.digest)
        known = None if last is None else last.agents.get(name)
        return self._reread(name, found.oid, known, shared)

    def _whole(self, tree: str, hive: HiveToml) -> _Whole:
        """Only what differs from what was read last, or at some time before, is read."""
        shared = self._shared(tree, hive)
        folder = self._trees.subtree(tree, "agents")
        whole = self._read.get((folder, shared.digest))
        if whole is None:
            whole = self._from(self._last.get(shared.digest, NOTHING), folder, shared)
            fresh = (whole.agents[name] for name in whole.fresh)
            self._parsed.keep(shared.digest, fresh, whole.agents)
        if not any(isinstance(whole.agents[name], Unreadable) for name in whole.fresh):
            _keep(self._read, (folder, shared.digest), whole)
            _keep(self._last, shared.digest, whole)
        return whole

    def _from(self, last: _Whole, folder: str, shared: _Shared) -> _Whole:
        gone, come = self._trees.differing(last.folder, folder)
        news = {
            name: self._reread(name, item.oid, last.agents.get(name), shared)
            for name, item in come.items()
            if item.is_tree
        }
        agents = last.agents.changed(news, gone.keys() - news.keys())
        roll = last.roll.changed(last.agents, agents, gone.keys() | come.keys())
        fresh = tuple(name for name in come if name in agents)
        return _Whole(folder, agents, roll, fresh)

    def _reread(self, name: str, oid: str, known: Entry | None, shared: _Shared) -> Entry:
        if isinstance(known, Valid | Invalid) and known.tree == oid:
            return known
        if (kept := self._parsed.get(shared.digest, oid)) is not None and not name_problem(name):
            return kept
        return self._entry(name, oid, shared)

    def _shared(self, tree: str, hive: HiveToml) -> _Shared:
        parts: list[Any] = [VERSION, hive.defaults]
        if self._nix:
            found = (self._trees.entry(tree, path) for path in NIX_SHARED)
            parts.append([entry.oid if entry else None for entry in found])
        return _Shared(hive.defaults, _digest(parts))

    def _entry(self, name: str, tree: str, shared: _Shared) -> Entry:
        folder = f"agents/{name}"
        problem = name_problem(name)
        if problem:
            return Invalid((SpecProblem(folder, 0, "", problem),), tree)
        try:
            spec = self._spec(folder, tree, shared)
            prompt = self._prompt(folder, tree, spec)
        except SpecError as error:
            return Invalid(error.problems, tree)
        except ReadFailed as error:
            return Unreadable(error.message)
        items = self._trees.entries(tree)
        nix = "agent.nix" in items
        shape = [
            (file, item.mode, item.oid)
            for file, item in sorted(items.items())
            if self._nix or file != "agent.nix"
        ]
        return Valid(
            spec, prompt, _digest([shape, shared.digest]), tree, nix_applied=self._nix or not nix
        )

    def _spec(self, folder: str, tree: str, shared: _Shared) -> AgentSpec:
        path = f"{folder}/agent.toml"
        found = self._trees.entry(tree, "agent.toml")
        if found is None or found.is_tree:
            raise SpecError([SpecProblem(path, 0, "", "is missing")])
        spec = parse_agent(self._trees.blob(found.oid), path, dict(shared.defaults))
        if spec.uid is None:
            raise SpecError([SpecProblem(path, 0, "uid", "is missing; the reconciler sets it")])
        return spec

    def _prompt(self, folder: str, tree: str, spec: AgentSpec) -> str:
        path = f"{folder}/{spec.prompt}"
        found = self._trees.entry(tree, spec.prompt)
        if found is None or found.is_tree:
            raise SpecError([SpecProblem(path, 0, "", "is missing; agent.toml names it as prompt")])
        data = self._trees.blob(found.oid)
        if len(data) > MAX_PROMPT:
            raise SpecError([SpecProblem(path, 0, "", f"is larger than {MAX_PROMPT >> 10} KiB")])
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise SpecError([SpecProblem(path, 0, "", "is not UTF-8 text")]) from None


def _keep(kept: dict[K, V], key: K, value: V) -> None:
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > _CACHED:
        kept.pop(next(iter(kept)))


def _digest(parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
