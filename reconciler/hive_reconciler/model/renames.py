"""Agents that go on under another name: git knows no renames, the uid tells them."""

from __future__ import annotations

from collections.abc import Mapping

from .desired import Entry, Valid


def renames(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> dict[str, str]:
    """The other name of each agent that is removed under one name and added under another, both
    ways: old to new and new to old."""
    added = {uid: name for name in after.keys() - before.keys() if (uid := _uid(after[name]))}
    found: dict[str, str] = {}
    for old in before.keys() - after.keys():
        new = added.get(_uid(before[old]) or "")
        if new is not None:
            found |= {old: new, new: old}
    return found


def _uid(entry: Entry) -> str | None:
    return entry.spec.uid if isinstance(entry, Valid) else None
