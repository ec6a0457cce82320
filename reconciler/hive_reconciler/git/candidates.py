"""Which systems an open proposal may change, and of what files: what Nix is to evaluate."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hive_wire.names import DEFAULT_MANAGER, container_name

from ..model.agentfiles import use
from ..model.desired import Entry, Valid
from ..model.effect import VERSION
from ..model.tree import FileChange, agent_of
from .decide import Decisions
from .errors import ReadFailed, Refused
from .previews import Step, TooLarge
from .reading import NIX_SHARED
from .repositories import Repositories

MAX_SYSTEMS = 8  # evaluated for one proposal


@dataclass(frozen=True)
class Candidate:
    """A proposal that touches what Nix reads. `key` names all that its systems are made of."""

    n: int
    key: str
    by_person: bool
    base: str  # a tree
    changes: tuple[FileChange, ...]
    systems: tuple[str, ...]  # containers whose system to evaluate
    present: frozenset[str]  # those that `base` has, too
    control: str  # one of `base`, to tell a fault of the host from one of the proposal
    new_inputs: bool  # flake.nix or flake.lock change
    left_out: int


def candidate(all_: Repositories, decisions: Decisions, n: int) -> Candidate | None:
    """None when it is not open, does not merge, or touches nothing for Nix. Raises ReadFailed."""
    with all_.trees.scratch():
        proposal = all_.ledger.one(n)
        if proposal.state != "open":
            return None
        try:
            step = decisions.now(proposal)
            if not isinstance(step, Step) or step.problems:
                return None
        except (TooLarge, ReadFailed, Refused):
            return None
        new = decisions.tree(proposal)
        before = all_.reader.agents(step.old, step.hive_before)
        after = all_.reader.agents(new, step.hive_after)
        wanted = _touched(step.changes, before, after)
        if not wanted:
            return None
        chosen = wanted[:MAX_SYSTEMS]
        present = frozenset(_container(name, before) for name in chosen if name in before)
        shared = [_oids(all_, tree, ("hive.toml", *NIX_SHARED)) for tree in (step.old, new)]
        own = [
            [_oids(all_, tree, (f"agents/{name}",)) for tree in (step.old, new)] for name in chosen
        ]
        return Candidate(
            n,
            hashlib.sha256(json.dumps([shared, chosen, own]).encode()).hexdigest(),
            proposal.pinned.requester.kind == "user",
            step.old,
            step.changes,
            tuple(_container(name, after) for name in chosen),
            present,
            min(present) if present else _manager(before),
            any(change.path in ("flake.nix", "flake.lock") for change in step.changes),
            len(wanted) - len(chosen),
        )


def _touched(
    changes: Sequence[FileChange], before: Mapping[str, Entry], after: Mapping[str, Entry]
) -> list[str]:
    """Agents of whose files some for Nix differ; all of them when what they share does."""
    own = {
        name
        for change in changes
        if (name := agent_of(change.path)) is not None
        and name in after
        and use(change, before.get(name), after[name], VERSION) == "nix"
    }
    shared = any(change.path.split("/")[0] in NIX_SHARED for change in changes)
    rest = after.keys() - own if shared else set()
    return [*sorted(own), *sorted(rest)]


def _container(name: str, agents: Mapping[str, Entry]) -> str:
    entry = agents[name]
    return container_name(name, entry.spec.role if isinstance(entry, Valid) else "agent")


def _manager(agents: Mapping[str, Entry]) -> str:
    """Its name; the usual one is tried first, because a swarm may be large."""
    names = itertools.chain((DEFAULT_MANAGER,), agents)
    return next((name for name in names if _is_manager(agents.get(name))), "")


def _is_manager(entry: Entry | None) -> bool:
    return isinstance(entry, Valid) and entry.spec.role == "manager"


def _oids(all_: Repositories, tree: str, paths: Sequence[str]) -> list[str | None]:
    found = (all_.trees.entry(tree, path) for path in paths)
    return [entry.oid if entry else None for entry in found]
