"""What the policy decides without a person. It judges the diff, never the label."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence

from hive_wire.hivetoml import HiveToml, ProposalClass

from .desired import Entry, Valid
from .proposal import Kind, Merged, Requester
from .records import who_problem
from .tomledit import set_key
from .tree import FileChange, agent_of

POWER_FIELDS = ("state", "restarts")
POWER_PER_HOUR = 10
POLICY = "policy/"  # what names of approvers that are no persons begin with
POWER, AUTO_REVERT = f"{POLICY}power@", f"{POLICY}auto_revert@"


def classes(
    changes: Sequence[FileChange], before: Mapping[str, Entry], after: Mapping[str, Entry]
) -> frozenset[ProposalClass]:
    """The classes that a diff belongs to."""
    if changes and all(_is_power(change, before, after) for change in changes):
        return frozenset({"power"})
    return frozenset()


def may_merge(hive: HiveToml, found: frozenset[ProposalClass]) -> bool:
    """Whether the policy of the base merges such a diff by itself."""
    return not hive.policy.freeze and any(name in hive.policy.auto_approve for name in found)


def over_limit(requester: Requester, merges: Iterable[Merged], now: float) -> bool:
    """Whether the policy merged enough for this requester within the last hour."""
    approved = (
        merge.at
        for merge in merges
        if merge.by.startswith(POWER) and asker(merge.requested_by) == requester.key
    )
    return len(within_hour(approved, now)) >= POWER_PER_HOUR


def within_hour(times: Iterable[float], now: float) -> list[float]:
    """Those that count at `now`."""
    return [at for at in times if at > now - 3600]


def frozen(before: HiveToml, after: HiveToml) -> bool:
    """Whether a merge is held up: only one that lifts the freeze is not."""
    return before.policy.freeze and after.policy.freeze


def person_problem(name: str) -> str | None:
    """What is wrong with the name of somebody who asks or decides."""
    return who_problem(name) or (
        "only the policy is called so" if name.startswith(POLICY) else None
    )


def consent_problem(
    approved_by: str, kind: Kind, hive: HiveToml, oid: str, found: frozenset[ProposalClass]
) -> str | None:
    """What is wrong with a consent that a policy gave, whose hive.toml before the merge is `hive`,
    with the OID `oid`, to a diff of the classes `found`. A person's is not judged."""
    if not approved_by.startswith(POLICY):
        return None
    if approved_by not in (f"{POWER}{oid}", f"{AUTO_REVERT}{oid}"):
        return f"{approved_by} approved it, which was not the policy of then"
    if approved_by.startswith(POWER):
        return None if may_merge(hive, found) else "the policy approved what it does not let pass"
    if kind != "revert" or not hive.policy.auto_revert:
        return "the policy approved a revert that it does not let pass"
    return None


def asker(requested_by: str) -> str:
    """`Requester.key` of whom a record names: an agent may have had another name."""
    kind, _, who = requested_by.partition("/")
    return f"agent/{who.rpartition('/')[2]}" if kind == "agent" else requested_by


def _is_power(change: FileChange, before: Mapping[str, Entry], after: Mapping[str, Entry]) -> bool:
    """The file is what it was, but for the two keys, byte for byte."""
    name = agent_of(change.path)
    if name is None or change.path != f"agents/{name}/agent.toml":
        return False
    sides = before.get(name), after.get(name)
    if not all(isinstance(side, Valid) and side.spec.role == "agent" for side in sides):
        return False
    old, new = change.old, change.new
    if old is None or new is None or old.mode != new.mode or not old.data or not new.data:
        return False
    text = old.data.decode()
    wanted = tomllib.loads(new.data.decode())
    for field in POWER_FIELDS:
        if field in wanted and wanted[field] != tomllib.loads(text).get(field):
            text = set_key(text, field, wanted[field])
    return text.encode() == new.data
