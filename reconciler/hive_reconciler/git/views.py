"""What there is to see: desired state and proposals with their effects. Writes no proposal."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pygit2

from ..model.desired import Desired
from ..model.proposal import Proposal
from .decide import Decisions
from .diffs import diff_json
from .errors import NotFound, ReadFailed
from .previews import Conflicts
from .repositories import Repositories

Filter = Literal["open", "closed", "merged"]


class Views:
    """Used in the git thread."""

    def __init__(self, all_: Repositories, decisions: Decisions) -> None:
        self._all = all_
        self._decisions = decisions

    def read(self, rev: str | None) -> Desired:
        all_ = self._all
        oid = all_.history.verified_tip() if rev is None else self._resolve(rev)
        merge = all_.history.merge_of(oid)
        return all_.reader.desired(
            oid, all_.store.tree_of(oid), merge.allow_prune if merge is not None else 0
        )

    def newest(
        self, state: Filter | None, limit: int, before: int | None = None
    ) -> tuple[Proposal, ...]:
        """The newest first; only open ones with effect."""
        among = (p for p in self._all.ledger.all() if before is None or p.n < before)
        found = tuple(itertools.islice((p for p in among if _matches(p, state)), limit))
        with self._all.trees.scratch():
            return tuple(self._decisions.with_effect(p) if p.state == "open" else p for p in found)

    def one(self, n: int) -> Proposal:
        with self._all.trees.scratch():
            return self._decisions.with_effect(self._all.ledger.one(n))

    def diff(self, n: int) -> list[dict[str, Any]]:
        with self._all.trees.scratch():
            proposal = self._all.ledger.one(n)
            step = self._decisions.seen(proposal)
            if isinstance(step, Conflicts):
                step = self._decisions.as_proposed(proposal)
            return [] if step is None else diff_json(step.changes)

    def preview(self, n: int) -> Desired | None:
        with self._all.trees.scratch():
            return self._decisions.desired_after(self._all.ledger.one(n))

    def _resolve(self, rev: str) -> str:
        try:
            found = self._all.store.repo.revparse_single(rev)
            return str(found.peel(pygit2.Commit).id)
        except (KeyError, ValueError, TypeError, pygit2.GitError) as error:
            raise NotFound(f"{rev[:80]!r} names no commit in hive.git: {error}") from None
        except OSError as error:
            raise ReadFailed(f"{rev[:80]!r} cannot be read: {error}") from None


def _matches(proposal: Proposal, wanted: Filter | None) -> bool:
    if wanted == "closed":
        return proposal.state not in ("open", "merged")
    return wanted is None or proposal.state == wanted
