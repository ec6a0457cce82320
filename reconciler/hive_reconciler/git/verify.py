"""Proving the audit log: every change of `applied` was a recorded, signed, approved merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pygit2

from hive_wire.paths import Layout

from ..model import effect as effects
from ..model.policy import POWER, POWER_PER_HOUR, asker, consent_problem, frozen, within_hour
from ..model.records import BadRecord, Merge
from .approval import signature_problem
from .decide import policy_oid
from .errors import NotFound, ReadFailed
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
        commits = list(all_.history.first_parents(tip))
        checked = [_checked(all_, oid) for oid in commits]
        times = [float(all_.store.commit(oid).commit_time) for oid in commits]
    finally:
        all_.store.repo.free()
    checked = _merged_once(commits, checked)
    checked = _within_limit(commits, checked, times)
    findings = tuple(found for found in checked if isinstance(found, Finding))
    proven = [found for found in checked if isinstance(found, Merge)]
    signed = sum(bool(merge.signature) for merge in proven)
    return Verification(tip, len(commits), len(proven), signed, findings)


def _merged_once(
    commits: Sequence[str], checked: Sequence[Merge | Finding]
) -> list[Merge | Finding]:
    """A proposal is merged once: a second merge would bring back what was undone since."""
    first: dict[int, str] = {}
    found = list(checked)
    for number in reversed(range(len(found))):
        oid, merge = commits[number], found[number]
        if isinstance(merge, Merge) and first.setdefault(merge.proposal, oid) != oid:
            text = f"proposal {merge.proposal}: {first[merge.proposal][:12]} merged it before"
            found[number] = Finding(oid, "wrong", text)
    return found


def _within_limit(
    commits: Sequence[str], checked: Sequence[Merge | Finding], times: Sequence[float]
) -> list[Merge | Finding]:
    """The policy approves only so many an hour for one requester."""
    approved: dict[str, list[float]] = {}
    found = list(checked)
    for number in reversed(range(len(found))):
        merge, at = found[number], times[number]
        if not isinstance(merge, Merge) or not merge.approved_by.startswith(POWER):
            continue
        who = asker(merge.requested_by)
        recent = within_hour(approved.get(who, ()), at)
        approved[who] = [*recent, at]
        if len(recent) >= POWER_PER_HOUR:
            text = f"the policy had approved {len(recent)} within the hour already"
            found[number] = Finding(commits[number], "wrong", f"proposal {merge.proposal}: {text}")
    return found


def _checked(all_: Repositories, oid: str) -> Merge | Finding:
    """The merge when it is proven: recorded, signed by the host, its effect as it was approved,
    and approved by a person or by what the policy let pass."""
    try:
        commit = all_.store.commit(oid)
        tag = all_.store.ref(f"{ACCEPTED}{oid}")
        if tag is not None:
            message = all_.store.message(tag)
            return Finding(oid, "exception", " ".join(message.split()))
        merge = all_.history.recorded(commit)
        wrong = all_.key.verify(commit) or _wrong(all_, commit, merge)
        return Finding(oid, "wrong", f"proposal {merge.proposal}: {wrong}") if wrong else merge
    except (BadRecord, ReadFailed, NotFound, TooLarge) as error:
        return Finding(oid, "wrong", str(error))


def _wrong(all_: Repositories, commit: pygit2.Commit, merge: Merge) -> str | None:
    """What is wrong with a merge that the host signed. Raises BadRecord, ReadFailed, TooLarge."""
    pinned = all_.ledger.one(merge.proposal).pinned
    if merge.requested_by != str(pinned.requester):
        return f"it was requested by {pinned.requester}, and its record says {merge.requested_by}"
    base = all_.store.tree_of(str(commit.parent_ids[0]))
    if merge.signature:
        wrong = signature_problem(merge, pinned.commit, all_.reader.hive(base))
        if wrong:
            return wrong
    if merge.effect_version not in effects.VERSIONS:
        return f"effect version {merge.effect_version} is unknown"
    with all_.trees.scratch():
        step = all_.previews.step(base, str(commit.tree_id), merge.effect_version)
    if step.effect.digest != merge.effect_digest:
        return "its effect is another than the approved one"
    if frozen(step.hive_before, step.hive_after):
        return "merges were frozen"
    return consent_problem(
        merge.approved_by, pinned.kind, step.hive_before, policy_oid(all_, base), step.classes
    )
