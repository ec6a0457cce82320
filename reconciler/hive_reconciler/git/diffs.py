"""Changed files as lines, from their contents alone: no attributes, no filters, no programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pygit2

from hive_wire.frames import size
from hive_wire.pages import fitting

from ..model.tree import Blob, FileChange

ROOM = 400 << 10  # bytes of JSON in one answer, beside the effect
_LINE = 40  # bytes of JSON around its text, at the least


def diff_json(changes: Sequence[FileChange]) -> list[dict[str, Any]]:
    """`diff` of a proposal as docs/protocol.md has it: the first files that fit an answer, and
    the lines of those that still do. `cut` files are too long to show."""
    files = [_file(change) for change in changes]
    rows, _ = fitting((row for row, _ in files), ROOM)
    room = ROOM - size(rows)
    for row, patch in files[: len(rows)]:
        if patch is not None:
            hunks = _hunks(patch, room)
            row["cut"], row["hunks"] = hunks is None, hunks or []
            room -= size(row["hunks"])
    return rows


def diff_page(changes: Sequence[FileChange]) -> list[dict[str, Any]]:
    """The first files with all their lines, as many as fit an answer: at least one, `cut` if it
    is too long even alone."""
    rows: list[dict[str, Any]] = []
    room = ROOM
    for change in changes:
        (row,) = diff_json([change])
        room -= size(row)
        if rows and room < 0:
            break
        rows.append(row)
    return rows


def _file(change: FileChange) -> tuple[dict[str, Any], pygit2.Patch | None]:
    """Without its lines; these, where they can be shown."""
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
        return row, None
    if b"\0" in old or b"\0" in new:
        return {**row, "binary": True}, None
    patch = pygit2.Patch.create_from(old, new)
    _, row["added"], row["removed"] = patch.line_stats
    return row, patch


def _hunks(patch: pygit2.Patch, room: int) -> list[list[dict[str, Any]]] | None:
    """None where they need more than `room` bytes: first by what they need at the least."""
    if len(patch.data) + _LINE * sum(patch.line_stats) > room:
        return None
    found = [[_line(line) for line in hunk.lines if line.origin in " +-"] for hunk in patch.hunks]
    return found if size(found) <= room else None


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
