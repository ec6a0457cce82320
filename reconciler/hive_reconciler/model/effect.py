"""What a proposal changes: a pure function of (base tree, merged tree, version), with a digest.

A person approves exactly this. Whatever is not in here is not part of the consent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hive_wire.hivetoml import HiveToml

from .actions import Action, planned
from .desired import Entry
from .fields import FieldChange, agent_changes, hive_changes, shared_changes
from .renames import renames
from .tree import Blob, FileChange

VERSION = 2
VERSIONS = range(1, VERSION + 1)  # whose functions are kept: what was approved recomputes


@dataclass(frozen=True)
class ChangedFile:
    """One changed path; mode and OID are None where it does not exist."""

    path: str
    old_mode: int | None
    old_oid: str | None
    new_mode: int | None
    new_oid: str | None


@dataclass(frozen=True)
class Effect:
    version: int
    files: tuple[ChangedFile, ...]
    changes: tuple[FieldChange, ...]  # the riskiest first
    actions: tuple[Action, ...]
    digest: str  # 64 hex digits


@dataclass(frozen=True)
class Side:
    """What the effect needs to know of one tree: hive.toml, and the agents that differ."""

    hive: HiveToml
    agents: Mapping[str, Entry]


def effect(
    changes: Sequence[FileChange], base: Side, merged: Side, version: int = VERSION
) -> Effect:
    """The effect of `changes`, which lead from `base` to `merged`, by the rules of `version`."""
    files = tuple(_file(change) for change in sorted(changes, key=lambda c: c.path))
    names = sorted(base.agents.keys() | merged.agents.keys())
    others = renames(base.agents, merged.agents)
    found = [
        *hive_changes(base.hive, merged.hive),
        *shared_changes(changes),
        *(
            change
            for name in names
            for change in agent_changes(
                name,
                base.agents.get(name),
                merged.agents.get(name),
                changes,
                others.get(name),
                version=version,
            )
        ),
    ]
    ranked = tuple(sorted(found, key=lambda c: (c.risk.rank, c.agent, c.field)))
    actions = tuple(
        action
        for name in names
        for action in planned(
            name,
            base.agents.get(name),
            merged.agents.get(name),
            changes,
            others.get(name),
            version=version,
        )
    )
    return Effect(version, files, ranked, actions, _digest(version, files, ranked, actions))


def difference(shown: Effect | None, now: Effect) -> list[str]:
    """In words, what `now` has that `shown` had not, and the other way round."""
    before = set(_lines(shown)) if shown is not None else set()
    after = set(_lines(now))
    return [f"+ {line}" for line in sorted(after - before)] + [
        f"- {line}" for line in sorted(before - after)
    ]


def body(
    version: int,
    files: Sequence[ChangedFile],
    changes: Sequence[FieldChange],
    actions: Sequence[Action],
) -> dict[str, Any]:
    """What the digest is made of."""
    return {
        "version": version,
        "changes": [
            {
                "agent": change.agent,
                "field": change.field,
                "before": change.before,
                "after": change.after,
                "risk": change.risk.value,
                "text": change.text,
            }
            for change in changes
        ],
        "files": [
            {
                "path": file.path,
                "old_mode": file.old_mode,
                "old_oid": file.old_oid,
                "new_mode": file.new_mode,
                "new_oid": file.new_oid,
            }
            for file in files
        ],
        "actions": [
            {"kind": action.kind, "agent": action.agent, "reason": action.reason}
            for action in actions
        ],
    }


def _lines(value: Effect) -> list[str]:
    return [
        f"told by version {value.version} of the rules",
        *(f"{file.path} {file.old_oid or '-'} {file.new_oid or '-'}" for file in value.files),
        *(change.text for change in value.changes),
        *(f"{action.kind} {action.agent}: {action.reason}" for action in value.actions),
    ]


def _file(change: FileChange) -> ChangedFile:
    def side(blob: Blob | None) -> tuple[int | None, str | None]:
        return (None, None) if blob is None else (blob.mode, blob.oid)

    return ChangedFile(change.path, *side(change.old), *side(change.new))


def _digest(
    version: int,
    files: Sequence[ChangedFile],
    changes: Sequence[FieldChange],
    actions: Sequence[Action],
) -> str:
    """sha256 of the canonical JSON: sorted keys, no spaces, ASCII."""
    text = json.dumps(
        body(version, files, changes, actions),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()
