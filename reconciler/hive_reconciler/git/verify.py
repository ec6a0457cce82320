"""Proving the audit log: every change of `applied` was a recorded, signed, approved merge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hive_wire.paths import Layout

from ..model import effect as effects
from ..model.records import BadRecord
from .approval import signature_problem
from .errors import ReadFailed
from .previews import TooLarge
from .repositories import Repositories, read_repositories
from .store import ACCEPTED


@dataclass(frozen=True)
class Finding:
    """One commit that is not simply proven. An exception was accepted by a person."""

    commit: str
    kind: Literal["exception", "wrong"]
    text: str


@dataclass(frozen=True)
class Verification:
    tip: str
    commits: int
    merges: int  # proven ones
    signed: int  # of these, by their operator, too
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.kind == "exception" for finding in self.findings)


def verify(layout: Layout) -> Verification:
    """Every first-parent commit of `applied`, newest first. Needs no running reconciler and
    changes nothing. Raises ReadFailed."""
    all_ = read_repositories(layout)
    try:
        tip = all_.history.tip()
        commits, merge_of = all_.history.first_parents(tip), all_.history.merge_of
        findings = tuple(f for oid in commits if (f := _finding(all_, oid)) is not None)
        named = {finding.commit for finding in findings}
        proven = [merge for oid in commits if oid not in named if (merge := merge_of(oid))]
    finally:
        all_.store.repo.free()
    signed = sum(bool(merge.signature) for merge in proven)
    return Verification(tip, len(commits), len(proven), signed, findings)


def _finding(all_: Repositories, oid: str) -> Finding | None:
    """None when it is proven: recorded, signed by the host, its effect as it was approved."""
    try:
        commit = all_.store.commit(oid)
        tag = all_.store.ref(f"{ACCEPTED}{oid}")
        if tag is not None:
            message = all_.store.message(tag)
            return Finding(oid, "exception", " ".join(message.split()))
        merge = all_.history.recorded(commit)
        wrong = all_.key.verify(commit)
        if wrong:
            return Finding(oid, "wrong", f"proposal {merge.proposal}: {wrong}")
        parent = str(commit.parent_ids[0])
        if merge.signature:
            base = all_.reader.hive(all_.store.tree_of(parent))
            wrong = signature_problem(merge, str(commit.parent_ids[1]), base)
            if wrong:
                return Finding(oid, "wrong", f"proposal {merge.proposal}: {wrong}")
        if merge.effect_version != effects.VERSION:
            text = f"proposal {merge.proposal}: effect version {merge.effect_version} is unknown"
            return Finding(oid, "wrong", text)
        with all_.trees.scratch():
            step = all_.previews.step(all_.store.tree_of(parent), str(commit.tree_id))
        if step.effect.digest != merge.effect_digest:
            text = f"proposal {merge.proposal}: its effect is another than the approved one"
            return Finding(oid, "wrong", text)
    except (BadRecord, ReadFailed, TooLarge) as error:
        return Finding(oid, "wrong", str(error))
    return None
