"""An effect as people are shown it: as much as fits an answer, and of the rest how much there is.
The digest covers all of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from hive_wire.frames import size
from hive_wire.pages import fitting

from .effect import Effect, body, difference

_ROOM = {"changes": 128 << 10, "actions": 64 << 10, "files": 64 << 10}  # bytes of rows
_DIFFERENCE_ROOM = 128 << 10
_ROW = 4 << 10
_TEXT = 1000  # characters


def effect_json(value: Effect) -> dict[str, Any]:
    """`effect` of a Proposal as docs/protocol.md has it."""
    whole = body(value.version, value.files, value.changes, value.actions)
    shown, rest = {}, {}
    for key, room in _ROOM.items():
        shown[key], _ = fitting(map(_short, whole[key]), room)
        rest[key] = whole[key][len(shown[key]) :]
    left_out = {
        "changes": Counter(change["risk"] for change in rest["changes"]),
        "actions": Counter(action["kind"] for action in rest["actions"]),
        "files": len(rest["files"]),
    }
    return {"digest": value.digest, "version": value.version, **shown, "left_out": left_out}


def effect_rows(value: Effect, part: Literal["changes", "actions"]) -> list[dict[str, Any]]:
    """All that `effect_json` has of it, and what it leaves out."""
    whole = body(value.version, value.files, value.changes, value.actions)
    return [_short(row) for row in whole[part]]


def difference_lines(shown: Effect | None, now: Effect) -> list[str]:
    """`difference`, as much as fits an answer."""
    lines = difference(shown, now)
    found, more = fitting((_cut(line) for line in lines), _DIFFERENCE_ROOM)
    return [*found, f"… and {len(lines) - len(found)} more"] if more else found


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """A setting may be as long as hive.toml; the diff has it."""
    if "text" in row and size(row) > _ROW:
        return {**row, "before": None, "after": None, "text": _cut(row["text"])}
    return row


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"
