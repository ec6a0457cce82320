"""All of one part of a proposal, page by page: what its card has no room for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import TypeAdapter

from ..review.paint import PaintedFile, paint
from .models import Change, FileDiff, PlannedAction

Part = Literal["changes", "actions", "diff"]
PARTS: tuple[Part, ...] = get_args(Part)
_CHANGES = TypeAdapter(tuple[Change, ...])
_ACTIONS = TypeAdapter(tuple[PlannedAction, ...])
_FILES = TypeAdapter(tuple[FileDiff, ...])


@dataclass(frozen=True)
class PartPage:
    """`after` and `next` are places in the whole part; None: nothing comes behind."""

    n: int
    part: Part
    after: int
    next: int | None
    digest: str
    changes: tuple[Change, ...] = ()
    actions: tuple[PlannedAction, ...] = ()
    files: tuple[PaintedFile, ...] = ()


async def part_page(n: int, part: Part, after: int, answer: dict[str, Any]) -> PartPage:
    """Of an answer of `proposal_part`. Raises ValidationError."""
    rows, digest, behind = answer["rows"], str(answer["digest"]), answer["next"]
    if part == "changes":
        changes = _CHANGES.validate_python(rows)
        return PartPage(n, part, after, behind, digest, changes=changes)
    if part == "actions":
        actions = _ACTIONS.validate_python(rows)
        return PartPage(n, part, after, behind, digest, actions=actions)
    files = await asyncio.to_thread(paint, _FILES.validate_python(rows))
    return PartPage(n, part, after, behind, digest, files=files)
