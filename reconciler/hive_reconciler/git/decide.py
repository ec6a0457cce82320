"""Merging and ending proposals. All of it happens in the git thread and under the one lock."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from ..model.checks import Problem, scope_problems
from ..model.desired import Desired
from ..model.effect import VERSION, VERSIONS, Effect
from ..model.policy import POWER, frozen, person_problem
from ..model.proposal import Closed, Ending, Proposal
from ..model.records import Merge, merge_message
from ..model.shown import difference_lines, effect_json
from .approval import signature_problem
from .durable import RefChange
from .errors import Conflict, ReadFailed, Refused
from .mending import exchanged
from .objects import signed
from .previews import Conflicts, Step, TooLarge
from .repositories import Repositories
from .returning import heirs, orphans
from .store import APPLIED

_DAY = 86400.0


class Decisions:
    def __init__(self, all_: Repositories) -> None:
        self._all = all_
        self._shown: dict[str, Effect] = {}

    # -- looking -----------------------------------------------------------------

    def now(self, proposal: Proposal) -> Step | Conflicts:
        """What merging it into the present tip would do. Inside a scratch. Raises TooLarge."""
        all_, pinned, trees = self._all, proposal.pinned, self._trees(proposal)
        step = all_.previews.merge(*trees)
        if isinstance(step, Conflicts):
            return step
        found = exchanged(all_, step)
        if pinned.kind == "revert":
            found += unkept(all_, step.old, self.tree(proposal))  # it may be purged by now
        asked = all_.store.tree_of(pinned.base)
        if asked != trees[0]:  # its history has commits that were not applied when it was checked
            if pinned.requester.kind == "agent":
                found += tuple(scope_problems(step.changes, pinned.agent))
            found += heirs(all_.trees, all_.reader, asked, step.old, self.tree(proposal))
        return replace(step, problems=step.problems + found) if found else step

    def tree(self, proposal: Proposal) -> str:
        """The merged tree of one that merges; in the scratch, unlike that of a step which was
        computed before."""
        return self._all.previews.tree(*self._trees(proposal))

    def seen(self, proposal: Proposal) -> Step | Conflicts | None:
        """What there is to see: for an open one as `now`, else as it was. None: not readable."""
        try:
            if proposal.state == "open":
                return self.now(proposal)
            old, new, version = proposal.pinned.base, proposal.pinned.commit, VERSION
            if proposal.merge is not None:
                old, new = str(self._all.store.commit(proposal.merge).parent_ids[0]), proposal.merge
                record = self._all.history.merge_of(new)
                version = record.effect_version if record is not None else 0
            if version not in VERSIONS:
                return None
            tree_of = self._all.store.tree_of
            return self._all.previews.step(tree_of(old), tree_of(new), version)
        except (TooLarge, ReadFailed, Refused):
            return None

    def as_proposed(self, proposal: Proposal) -> Step | None:
        """Against its own base: what to show of one that needs a rebase."""
        tree_of = self._all.store.tree_of
        try:
            return self._all.previews.step(
                tree_of(proposal.pinned.base), tree_of(proposal.pinned.commit)
            )
        except (TooLarge, ReadFailed):
            return None

    def desired_after(self, proposal: Proposal) -> Desired | None:
        """The desired state that a merge would give now; None when it cannot be merged."""
        try:
            if not isinstance(self.now(proposal), Step):
                return None
            tree = self.tree(proposal)
            return self._all.reader.desired(proposal.pinned.commit, tree, 0)
        except (TooLarge, ReadFailed, Refused):
            return None

    def with_effect(self, proposal: Proposal) -> Proposal:
        seen = self.seen(proposal)
        needs_rebase = isinstance(seen, Conflicts)
        step = self.as_proposed(proposal) if needs_rebase else seen
        assert not isinstance(step, Conflicts)
        if step is not None and not needs_rebase and proposal.state == "open":
            self._remember(step.effect)
        return proposal._replace(
            needs_rebase=needs_rebase,
            effect=step.effect if step else None,
            problems=tuple(map(str, step.problems)) if step and proposal.state == "open" else (),
        )

    # -- deciding ----------------------------------------------------------------

    def approve(
        self, n: int, digest: str, by: str, allow_prune: int = 0, signature: str = ""
    ) -> str:
        """The OID of the merge. Errors as `Hive.approve` says."""
        wrong = person_problem(by)
        if wrong:
            raise Refused(f"cannot approve: {wrong}")
        if allow_prune < 0:
            raise Refused("allow_prune is a number of agents, 0 or more")
        with self._all.store.locked(), self._all.trees.scratch():
            proposal = self._all.ledger.one(n)
            return self.merge(proposal, digest, by, allow_prune, signature)

    def merge(
        self,
        proposal: Proposal,
        digest: str | None,
        by: str,
        allow_prune: int = 0,
        signature: str = "",
    ) -> str:
        """Merge under the lock and inside a scratch; without `digest` whatever it is now."""
        self._all.ledger.must_be_open(proposal)
        tip = self._all.history.verified_tip()
        try:
            step = self.now(proposal)
        except TooLarge as error:
            raise Refused(f"proposal {proposal.n} {error}") from None
        if isinstance(step, Conflicts):
            raise Conflict(
                f"proposal {proposal.n} does not merge any more: {', '.join(step.paths)} changed "
                "on both sides; its author must rebase it",
                {"conflicts": list(step.paths)},
            )
        if digest is not None and step.effect.digest != digest:
            raise self._moved(proposal, step, digest)
        if step.problems:
            raise Refused(f"proposal {proposal.n}: " + "; ".join(map(str, step.problems)))
        if frozen(step.hive_before, step.hive_after):
            raise Refused("merges are frozen ([policy] freeze in hive.toml)")
        merge = Merge(
            proposal.n,
            str(proposal.pinned.requester),
            by,
            step.effect.version,
            step.effect.digest,
            allow_prune,
            signature,
        )
        wrong = signature and signature_problem(merge, proposal.pinned.commit, step.hive_before)
        if wrong:
            raise Refused(wrong)
        return self._commit(proposal, step, tip, merge)

    def end(self, n: int, outcome: Ending, reason: str, by: str) -> Proposal:
        """Raises Conflict when it has ended, NotFound, Refused."""
        wrong = person_problem(by)
        if wrong:
            raise Refused(wrong)
        with self._all.store.locked():
            proposal = self._all.ledger.one(n)
            return self._all.ledger.close(proposal, Closed(outcome, reason, by, time.time()))

    def sweep(self, now: float) -> tuple[Proposal, ...]:
        """End what is older than the policy allows."""
        hive = self._all.reader.hive(self._all.store.tree_of(self._all.history.verified_tip()))
        days = hive.policy.expire_days
        with self._all.store.locked():
            return tuple(
                self._all.ledger.close(
                    proposal, Closed("expired", f"open for {days} days", "policy/expire", now)
                )
                for proposal in self._all.ledger.all()
                if proposal.state == "open" and proposal.pinned.created < now - days * _DAY
            )

    # -- inside ------------------------------------------------------------------

    def _trees(self, proposal: Proposal) -> tuple[str, str, str]:
        store = self._all.store
        tip, commit = self._all.history.tip(), proposal.pinned.commit
        base = store.merge_base(tip, commit)
        if base is None:
            raise Refused(f"proposal {proposal.n} shares no history with applied")
        return store.tree_of(base), store.tree_of(tip), store.tree_of(commit)

    def _commit(self, proposal: Proposal, step: Step, tip: str, merge: Merge) -> str:
        """Nothing is visible before the branch moves, and everything is on disk before it."""
        store, trees, history = self._all.store, self._all.trees, self._all.history
        tree = self.tree(proposal)
        assert tree == step.new
        text = store.commit_text(merge_message(merge), tree, (tip, proposal.pinned.commit))
        commit = trees.write_commit(signed(text, self._all.key.sign(text)))
        moved = RefChange(APPLIED, commit, tip)
        store.land(trees.unwritten(commit), moved, history.taking_over(commit))
        history.made(commit)
        return commit

    def _moved(self, proposal: Proposal, step: Step, digest: str) -> Conflict:
        shown, effect = self._looked_at(proposal, step, digest), step.effect
        self._remember(effect)
        data: dict[str, Any] = {
            "effect": effect_json(effect),
            "digest": effect.digest,
            "changed": difference_lines(shown, effect),
        }
        return Conflict(
            f"the effect of proposal {proposal.n} is another by now; look at it again", data
        )

    def _looked_at(self, proposal: Proposal, step: Step, digest: str) -> Effect | None:
        """What somebody saw who names `digest`; perhaps as an earlier hyperhive told it."""
        if digest in self._shown:
            return self._shown[digest]
        new = self.tree(proposal)
        for version in VERSIONS:
            told = self._all.previews.step(step.old, new, version).effect
            if told.digest == digest:
                return told
        proposed = self.as_proposed(proposal)
        return proposed.effect if proposed else None

    def _remember(self, effect: Effect) -> None:
        while len(self._shown) >= 200:
            self._shown.pop(next(iter(self._shown)))
        self._shown[effect.digest] = effect


def unkept(all_: Repositories, old: str, new: str) -> tuple[Problem, ...]:
    """What comes back between two trees and finds nothing. Inside a scratch."""
    return orphans(all_.trees, all_.reader, all_.keeps, old, new)


def policy_approver(all_: Repositories, tree: str, rule: str = POWER) -> str:
    """`policy/power@<oid of hive.toml>`: what decided, in which version."""
    return f"{rule}{policy_oid(all_, tree)}"


def policy_oid(all_: Repositories, tree: str) -> str:
    """The OID of hive.toml, which holds the policy. Raises ReadFailed."""
    found = all_.trees.entry(tree, "hive.toml")
    if found is None:
        raise ReadFailed("hive.toml is missing; put it back by a revert")
    return found.oid
