"""Frames: one JSON object a line, UTF-8, at most `MAX_FRAME` bytes with its newline."""

from __future__ import annotations

import json
from typing import Any, cast

orjson: Any
try:  # the host processes have orjson; the container has the standard library only
    import orjson
except ImportError:
    orjson = None

MAX_FRAME = 1 << 20


class FrameError(ValueError):
    """The bytes are no frame: too long, no JSON, or no JSON object."""


def encode(message: dict[str, Any]) -> bytes:
    """The frame of `message`, newline included.

    Raises FrameError when it would be longer than MAX_FRAME.
    """
    frame = _dump(message) + b"\n"
    if len(frame) > MAX_FRAME:
        raise FrameError(f"frame of {len(frame)} bytes is over the limit of {MAX_FRAME}")
    return frame


def size(part: Any) -> int:
    """Bytes that a part of a message takes in its frame."""
    return len(_dump(part))


def _dump(message: Any) -> bytes:
    if orjson is not None:
        try:
            return bytes(orjson.dumps(message))
        except TypeError:  # lone surrogates, integers over 64 bits: the slow way takes them
            pass
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace")


def decode(line: bytes) -> dict[str, Any]:
    """The object in one line, with or without its newline. Raises FrameError."""
    try:
        message = orjson.loads(line) if orjson is not None else json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise FrameError(f"a frame is a JSON object, this is {type(message).__name__}")
    return cast("dict[str, Any]", message)


class FrameSplitter:
    """Cuts a byte stream into lines and refuses lines over MAX_FRAME.

    Parts of an unfinished line are kept in a list, so a frame that arrives in
    many pieces costs its length once.
    """

    __slots__ = ("_held", "_parts")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. Raises FrameError on an over-long line."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = b"".join((*self._parts, whole[0]))
            self._parts, self._held = [], 0
        if rest:
            self._parts.append(rest)
            self._held += len(rest)
        if self._held >= MAX_FRAME or any(len(line) >= MAX_FRAME for line in whole):
            raise FrameError(f"a line is over the limit of {MAX_FRAME} bytes")
        return [line for line in whole if line]
