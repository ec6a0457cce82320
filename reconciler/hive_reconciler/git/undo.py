"""Going back: revert a merge, roll one agent back, revive a retired one. All are proposals."""

from __future__ import annotations

from dataclasses import replace

from ..model.policy import AUTO_REVERT
from ..model.proposal import Requester
from ..model.tree import DIRECTORY
from .decide import Decisions, policy_approver, unkept
from .errors import NotFound, Refused
from .intake import Intake, Submitted, Wish
from .listing import Entry
from .repositories import Repositories
from .treemerge import merge_trees
from .trees import EMPTY

ITSELF = Requester.user("policy")


class Undo:
    """Used in the git thread. What comes back keeps its uid."""

    def __init__(self, all_: Repositories, decisions: Decisions) -> None:
        self._all = all_
        self._decisions = decisions
        self._intake = Intake(all_, decisions)

    def revert(self, requester: Requester, what: int | str, reason: str) -> Submitted:
        """Undo one merge, given by its proposal or its commit."""
        with self._all.store.locked(), self._all.trees.scratch():
            tip, tree = self._start(requester)
            merge = self._merge(what, tip)
            parents = self._all.store.commit(merge).parent_ids
            if not parents:
                raise Refused("the first commit cannot be reverted")
            tree_of = self._all.store.tree_of
            undone, conflicts = merge_trees(
                self._all.trees, tree_of(merge), tree, tree_of(str(parents[0]))
            )
            if conflicts:
                raise Refused(
                    f"{merge[:12]} cannot be reverted by itself: {', '.join(conflicts)} changed "
                    "since then; revert what came later first, or change the files"
                )
            record = self._all.history.merge_of(merge)
            number = record.proposal if record else None
            agent = self._all.ledger.one(number).pinned.agent if number else ""
            text = reason or f"revert {f'proposal {number}' if number else merge[:12]}"
            return self._propose(agent, requester, text, undone, tip)

    def auto_revert(self, n: int, why: str) -> Submitted | None:
        """Answer a failed deploy with a revert, if the policy says so. Never reverts a revert."""
        with self._all.store.locked():
            tree = self._all.store.tree_of(self._all.history.verified_tip())
            if not self._all.reader.hive(tree).policy.auto_revert:
                return None
            if self._all.ledger.one(n).pinned.kind == "revert":
                return None
            done = self.revert(ITSELF, n, f"proposal {n} failed: {why}")
            by = policy_approver(self._all, tree, AUTO_REVERT)
            with self._all.trees.scratch():
                commit = self._decisions.merge(self._all.ledger.one(done.n), None, by)
            return replace(done, state="merged", message=f"merged by {by}", commit=commit)

    def rollback(self, requester: Requester, agent: str, commit: str, reason: str) -> Submitted:
        """Bring one agent's directory to what it was at an earlier merge."""
        with self._all.store.locked(), self._all.trees.scratch():
            tip, tree = self._start(requester)
            oid = self._applied(commit, tip)
            then = self._all.trees.subtree(self._all.store.tree_of(oid), f"agents/{agent}")
            if then == EMPTY:
                raise NotFound(f"there was no agent {agent[:60]!r} at {oid[:12]}")
            tree = self._all.trees.put(tree, f"agents/{agent}", Entry(DIRECTORY, then))
            text = reason or f"roll {agent} back to {oid[:12]}"
            return self._propose(agent, requester, text, tree, tip)

    def revive(self, requester: Requester, agent: str) -> Submitted:
        """Bring a retired agent back as it was last, with its uid and so with its state."""
        with self._all.store.locked(), self._all.trees.scratch():
            tip, tree = self._start(requester)
            path = f"agents/{agent}"
            if self._all.trees.entry(tree, path) is not None:
                raise Refused(f"{agent} is there; nothing is to be revived")
            for oid in self._all.history.first_parents(tip):
                then = self._all.trees.subtree(self._all.store.tree_of(oid), path)
                if then != EMPTY:
                    tree = self._all.trees.put(tree, path, Entry(DIRECTORY, then))
                    return self._propose(agent, requester, f"revive {agent}", tree, tip)
            raise NotFound(f"there never was an agent {agent[:60]!r}")

    def _start(self, requester: Requester) -> tuple[str, str]:
        tip = self._all.history.verified_tip()
        tree = self._all.store.tree_of(tip)
        self._intake.authorise(requester, tree)
        return tip, tree

    def _merge(self, what: int | str, tip: str) -> str:
        if isinstance(what, str):
            return self._applied(what, tip)
        proposal = self._all.ledger.one(what)
        if proposal.merge is None:
            raise Refused(f"proposal {what} is {proposal.state}; only merged ones are reverted")
        return proposal.merge

    def _applied(self, commit: str, tip: str) -> str:
        """The first-parent commit that `commit` abbreviates. Raises NotFound, Refused."""
        found = [o for o in self._all.history.first_parents(tip) if o.startswith(commit.lower())]
        if len(commit) < 7 or not found:
            raise NotFound(f"{commit[:60]!r} is no commit of applied (7 to 40 hex digits)")
        if len(found) > 1:
            raise Refused(f"{commit} is ambiguous; give more digits")
        return found[0]

    def _propose(
        self, agent: str, requester: Requester, text: str, tree: str, tip: str
    ) -> Submitted:
        missing = unkept(self._all, self._all.store.tree_of(tip), tree)
        if missing:
            raise Refused("; ".join(map(str, missing)))
        wish = Wish("revert", agent, requester, text, tree, tip, keeps_uids=True)
        return self._intake.propose(wish)
