"""Reading usage out of a response while it passes. Pure; never holds a byte back."""

from __future__ import annotations

import json
from typing import Any, Protocol

from hive_wire.protocol import Usage

from .rules import MESSAGES

MAX_LINE = 1 << 20  # bytes; the events with usage are short
MAX_JSON = 8 << 20  # bytes of an answer that is not streamed
MAX_COUNT = 1 << 53
ENVELOPE = 100  # bytes of a delta's event around its text
TOKEN = 4  # bytes of text, about

FIELDS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}


class Meter(Protocol):
    def feed(self, data: bytes) -> None:
        """Look at the next bytes of the body."""

    def usage(self) -> Usage | None:
        """What the answer cost as far as it got; None when it never said."""

    @property
    def model(self) -> str:
        """The model that answered; "" when it never said."""


class StreamMeter:
    """Usage of a server-sent event stream: `message_start` has the input,
    each `message_delta` the totals so far. A cut stream counts as far as it came: who leaves
    before the totals has got its text all the same, and pays for about as much of it."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._untold = 0  # tokens, about, since the last totals
        self.model = ""
        self._line: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for part in whole:
            self._hold(part)
            self._end_line()
        self._hold(rest)

    def usage(self) -> Usage | None:
        if not self._counts:
            return None
        told = self._counts.get("output_tokens", 0)
        return Usage(**{**self._counts, "output_tokens": told + self._untold})

    def _hold(self, part: bytes) -> None:
        self._held += len(part)
        if self._held <= MAX_LINE:
            self._line.append(part)
        else:
            self._line.clear()

    def _end_line(self) -> None:
        line = b"".join(self._line)
        self._line.clear()
        self._held = 0
        if not line.startswith(b"data:"):
            return
        if b'"content_block_delta"' in line[:ENVELOPE]:
            self._untold += max(1, (len(line) - ENVELOPE) // TOKEN)
        elif b'"usage"' in line:
            self._event(line[5:])

    def _event(self, data: bytes) -> None:
        event = _object(data)
        kind = event.get("type")
        if kind == "message_start":
            message = event.get("message")
            event = message if isinstance(message, dict) else {}
            self.model = _model(event)
        elif kind != "message_delta":
            return
        counts = _counts(event)
        if "output_tokens" in counts:
            self._untold = 0
        self._counts.update(counts)


class JsonMeter:
    """Usage of an answer in one piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0
        self.model = ""

    def feed(self, data: bytes) -> None:
        self._held += len(data)
        if self._held <= MAX_JSON:
            self._parts.append(data)
        else:
            self._parts.clear()

    def usage(self) -> Usage | None:
        answer = _object(b"".join(self._parts))
        self.model, counts = _model(answer), _counts(answer)
        return Usage(**counts) if counts else None


def meter_for(target: str, status: int, content_type: str) -> Meter | None:
    """The meter for an answer; None for those that cost nothing: errors, counts, lists."""
    if target.partition("?")[0] != MESSAGES or status != 200:
        return None
    return StreamMeter() if content_type.startswith("text/event-stream") else JsonMeter()


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _model(holder: dict[str, Any]) -> str:
    model = holder.get("model")
    return model if isinstance(model, str) else ""


def _counts(holder: dict[str, Any]) -> dict[str, int]:
    usage = holder.get("usage")
    if not isinstance(usage, dict):
        return {}
    return {
        ours: usage[theirs]
        for theirs, ours in FIELDS.items()
        if isinstance(usage.get(theirs), int) and 0 <= usage[theirs] < MAX_COUNT
    }
