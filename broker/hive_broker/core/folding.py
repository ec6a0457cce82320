"""Bursts of what an engine prints: folded, so that one agent does not fill the history.

Neighbouring lines of stderr become one row. Beyond an allowance of bytes, long texts
keep their beginning and say how much is left out. Pure; steady seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from .limits import Bucket

BYTES, BYTES_PER_SECOND = float(8 << 20), float(64 << 10)
KEPT = 200  # characters of a folded text
MOST_FOLDED = 2 << 10  # bytes of a folded row
JOINED = 16 << 10  # characters of joined lines


@dataclass(frozen=True, slots=True)
class Row:
    """A stream row on its way into the history; `at` is unix seconds."""

    kind: str
    data: dict[str, Any]
    turn: str | None
    at: float


def joined(rows: Iterable[Row]) -> list[Row]:
    """Neighbouring lines of stderr of one turn as one row each."""
    found: list[Row] = []
    for row in rows:
        if found and _go_together(found[-1], row):
            text = f"{found[-1].data['text']}\n{row.data['text']}"
            found[-1] = replace(found[-1], data={"text": text})
        else:
            found.append(row)
    return found


class Folder:
    """One agent's allowance. `size_of` gives the bytes of a row's data."""

    def __init__(self, now: float, size_of: Callable[[dict[str, Any]], int]) -> None:
        self._bucket = Bucket(BYTES, BYTES_PER_SECOND, now)
        self._size_of = size_of

    def fold(self, rows: Iterable[Row], now: float) -> list[Row]:
        """The rows as they are stored: all of them, shortened where there is too much."""
        return [self._within(row, now) for row in joined(rows)]

    def _within(self, row: Row, now: float) -> Row:
        size = self._size_of(row.data)
        if self._bucket.missing(size, now) > 0:
            short = {**_shortened(row.data), "folded": size}
            if self._size_of(short) > MOST_FOLDED:  # of many texts, or of odd characters
                short = {"folded": size}
            row = replace(row, data=short)
            size = self._size_of(short)
        self._bucket.take(size)
        return row


def _go_together(one: Row, other: Row) -> bool:
    if (one.kind, other.kind) != ("stderr", "stderr") or one.turn != other.turn:
        return False
    texts = (one.data.get("text"), other.data.get("text"))
    if set(one.data) | set(other.data) != {"text"}:
        return False
    return all(isinstance(text, str) for text in texts) and sum(map(len, texts)) < JOINED  # type: ignore[arg-type]


def _shortened(value: dict[str, Any]) -> dict[str, Any]:
    return {key[:KEPT]: _short(item) for key, item in list(value.items())[:20]}


def _short(value: Any) -> Any:
    """Texts cut; what is nested is left out."""
    if isinstance(value, str):
        return value if len(value) <= KEPT else value[:KEPT] + "…"
    return "…" if isinstance(value, (dict, list)) and value else value
