"""A turn that calls the same tool with the same input, and gets the same answer, again and again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

MOST_REPEATS = 20


class Repeats:
    """Counts equal answers to equal calls of one turn. What lies between does not matter, so
    that a circle of several calls is found too; an answer that changes begins anew."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[str, bytes]] = {}  # call id → tool, digest of the call
        self._seen: dict[bytes, tuple[bytes, int]] = {}  # call → last answer, how often

    def called(self, block: dict[str, Any]) -> None:
        """A `tool_use` block."""
        tool = str(block.get("name"))
        self._open[str(block.get("id"))] = tool, _digest([tool, block.get("input")])

    def answered(self, block: dict[str, Any]) -> str | None:
        """A `tool_result` block; the tool's name when it is enough."""
        tool, call = self._open.pop(str(block.get("tool_use_id")), ("", b""))
        if not tool:
            return None
        answer = _digest(block.get("content"))
        last, times = self._seen.get(call, (answer, 0))
        times = times + 1 if last == answer else 1
        self._seen[call] = answer, times
        return tool if times >= MOST_REPEATS else None


def _digest(value: Any) -> bytes:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
