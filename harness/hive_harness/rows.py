"""From the engine's stream to rows of event history: tolerant, bounded, and pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_ROW = 64 << 10  # bytes of JSON
DEEPEST = 100  # lists and objects in each other; not all who read JSON take 200
_CUT = " … ({} more characters)"
# Said at every request or every word: nothing in them for a person.
_NOISE = frozenset(
    {"stream_event", "command_lifecycle", "keep_alive", "tool_progress", "control_cancel_request"}
)
_SYSTEM_NOISE = frozenset({"status", "thinking_tokens", "session_state_changed"})


@dataclass(frozen=True)
class Row:
    """What a `StreamRow` says, before it has a number."""

    kind: str
    data: dict[str, Any]


def of_event(event: dict[str, Any]) -> Iterator[Row]:
    """The rows of one line that the engine printed; an unknown line is kept as it is."""
    kind = str(event.get("type"))
    if kind in _NOISE or (kind == "system" and _is_noise(event)):
        return
    if kind == "assistant":
        yield from _assistant(event)
    elif kind == "user":
        yield from _user(event)
    elif kind == "system" and event.get("subtype") == "init":
        keys = ("subtype", "model", "tools", "mcp_servers", "session_id", "claude_code_version")
        yield _row("engine", {"type": "system", **{k: event[k] for k in keys if k in event}})
    else:
        yield _row("engine", event)


def stderr(line: str) -> Row:
    return _row("stderr", {"text": line})


def _is_noise(event: dict[str, Any]) -> bool:
    return str(event.get("subtype")) in _SYSTEM_NOISE and not event.get("compact_result")


def _blocks(event: dict[str, Any]) -> list[dict[str, Any]]:
    message = event.get("message")
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []


def _assistant(event: dict[str, Any]) -> Iterator[Row]:
    for block in _blocks(event):
        match block:
            case {"type": "text", "text": str(text)}:
                yield _row("text", {"text": text})
            case {"type": "thinking", "thinking": str(text)}:
                yield _row("thinking", {"text": text})
            case {"type": "tool_use", "id": ident, "name": name}:
                tool = {"id": ident, "name": name, "input": block.get("input", {})}
                yield _row("tool_use", tool)
            case _:
                yield _row("engine", block)


def _user(event: dict[str, Any]) -> Iterator[Row]:
    for block in _blocks(event):
        if block.get("type") == "tool_result":
            ok = not block.get("is_error")
            text = text_of(block.get("content"))
            yield _row("tool_result", {"id": block.get("tool_use_id"), "ok": ok, "text": text})
        elif event.get("isSynthetic"):
            yield _row("engine", {"type": "user", "text": text_of([block])})


def text_of(content: Any) -> str:
    """The text of a content that is a string or a list of blocks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = []
    for block in content:
        if isinstance(block, dict):
            text = block.get("text")
            parts.append(text if isinstance(text, str) else f"[{block.get('type')}]")
    return "\n".join(parts)


def size(value: Any) -> int:
    """Bytes of `value` as JSON."""
    return len(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def encodable(value: Any, room: int = DEEPEST) -> Any:
    """`value` with all replaced that Python reads and others do not take for JSON: halves of
    surrogate pairs, numbers that no double holds, what is nested too deeply."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if value.bit_length() < 1024 else None
    if isinstance(value, dict | list) and not room:
        return "(nested too deeply)"
    if isinstance(value, dict):
        return {encodable(key): encodable(item, room - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [encodable(item, room - 1) for item in value]
    return value


def _row(kind: str, data: dict[str, Any]) -> Row:
    """A row of at most MAX_ROW bytes; what is too long is cut and says so."""
    data = encodable(data)
    if size(data) <= MAX_ROW:
        return Row(kind, data)
    budget = MAX_ROW
    cut = data
    while size(cut) > MAX_ROW and budget > 256:
        budget //= 2
        cut = _shorten(data, budget // max(1, len(data)))
    if size(cut) > MAX_ROW:
        cut = {"cut": json.dumps(data, ensure_ascii=True)[: MAX_ROW // 2]}
    return Row(kind, cut)


def _shorten(value: Any, limit: int) -> Any:
    if isinstance(value, str) and len(value) > limit:
        return value[:limit] + _CUT.format(len(value) - limit)
    if isinstance(value, dict):
        return {key: _shorten(item, limit) for key, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item, limit) for item in value]
    return value
