"""Who mends an agent's files gives it no other uid: it would get the state and mail of that one."""

from __future__ import annotations

from ..model.checks import Problem
from .previews import Step
from .repositories import Repositories
from .returning import uid_in
from .trees import EMPTY


def exchanged(all_: Repositories, step: Step) -> tuple[Problem, ...]:
    """Agents whose files could not be used and that `step` gives another uid than they had last.
    Of good ones the checks say it. Inside a scratch."""
    found = []
    for name, uid in sorted(step.mended.items()):
        last = _last_uid(all_, name)
        if uid == last:
            continue
        text = f"uid is set by the reconciler and never changes; it is {last}"
        if last is None:
            text = f"nothing tells which uid {name} had: retire it, and spawn it anew"
        found.append(Problem(f"agents/{name}/agent.toml", text))
    return tuple(found)


def _last_uid(all_: Repositories, name: str) -> str | None:
    """The last that can be read of the directory, back to where it came."""
    for oid in all_.history.first_parents(all_.history.tip()):
        tree = all_.store.tree_of(oid)
        if all_.trees.subtree(tree, f"agents/{name}") == EMPTY:
            return None
        if uid := uid_in(all_.trees, tree, name):
            return uid
    return None
