"""Changed files as lines, from their contents alone: no attributes, no filters, no programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pygit2

from ..model.tree import Blob, FileChange

MAX_TEXT = 400 << 10  # bytes of text in one answer: it must fit a frame, as JSON, too
MAX_LINES = 6000


def diff_json(changes: Sequence[FileChange]) -> list[dict[str, Any]]:
    """`diff` of a proposal as docs/protocol.md has it. `cut` files are too long to show."""
    room_text, room_lines = MAX_TEXT, MAX_LINES
    found = []
    for change in changes:
        row, text, lines = _file(change, room_text, room_lines)
        room_text, room_lines = room_text - text, room_lines - lines
        found.append(row)
    return found


def _file(change: FileChange, room_text: int, room_lines: int) -> tuple[dict[str, Any], int, int]:
    old, new = _data(change.old), _data(change.new)
    row: dict[str, Any] = {
        "path": change.path,
        "status": "added" if change.old is None else "removed" if change.new is None else "changed",
        "old_mode": change.old and change.old.mode,
        "new_mode": change.new and change.new.mode,
        "added": 0,
        "removed": 0,
        "binary": False,
        "cut": old is None or new is None,
        "hunks": [],
    }
    if old is None or new is None:
        return row, 0, 0
    if b"\0" in old or b"\0" in new:
        return {**row, "binary": True}, 0, 0
    patch = pygit2.Patch.create_from(old, new)
    _, row["added"], row["removed"] = patch.line_stats
    text = sum(len(line.raw_content) for hunk in patch.hunks for line in hunk.lines)
    lines = sum(len(hunk.lines) for hunk in patch.hunks)
    if text > room_text or lines > room_lines:
        return {**row, "cut": True}, 0, 0
    row["hunks"] = [
        [_line(line) for line in hunk.lines if line.origin in " +-"] for hunk in patch.hunks
    ]
    return row, text, lines


def _data(side: Blob | None) -> bytes | None:
    """The content; None where it was too large to read."""
    return b"" if side is None else side.data


def _line(line: pygit2.DiffLine) -> dict[str, Any]:
    return {
        "kind": line.origin,
        "old": line.old_lineno if line.old_lineno > 0 else None,
        "new": line.new_lineno if line.new_lineno > 0 else None,
        "text": line.raw_content.decode(errors="replace").removesuffix("\n"),
    }
