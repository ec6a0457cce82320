"""What there is to see: desired state and proposals with their effects. Writes no proposal."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pygit2

from hive_wire.pages import fitting

from ..model.desired import Desired
from ..model.proposal import Proposal
from ..model.shown import effect_rows
from .decide import Decisions
from .diffs import diff_json, diff_page
from .errors import NotFound, ReadFailed
from .previews import Conflicts, Step
from .repositories import Repositories

Filter = Literal["open", "closed", "merged"]
Part = Literal["changes", "actions", "diff"]


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
            step = self._step(n)
            return [] if step is None else diff_json(step.changes)

    def part(self, n: int, part: Part, after: int) -> dict[str, Any]:
        """`proposal_part` as docs/protocol.md has it."""
        with self._all.trees.scratch():
            step = self._step(n)
            if step is None:
                raise NotFound(f"the effect of proposal {n} cannot be computed any more")
            if part == "diff":
                count, rows = len(step.changes), diff_page(step.changes[after:])
            else:
                whole = effect_rows(step.effect, part)
                count, (rows, _) = len(whole), fitting(whole[after:])
            end = after + len(rows)
            digest = step.effect.digest
        return {"digest": digest, "rows": rows, "next": end if end < count else None}

    def preview(self, n: int) -> Desired | None:
        with self._all.trees.scratch():
            return self._decisions.desired_after(self._all.ledger.one(n))

    def _step(self, n: int) -> Step | None:
        """What there is to see of it."""
        proposal = self._all.ledger.one(n)
        step = self._decisions.seen(proposal)
        return self._decisions.as_proposed(proposal) if isinstance(step, Conflicts) else step

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
