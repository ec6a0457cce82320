"""Looks for words in the history, newest first, within a time limit."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from . import events
from .rows import StoredEvent
from .teaching import teach

SECONDS = 1.0  # of one call; the next one goes on
STEP = 20_000  # ids a look


@dataclass(frozen=True, slots=True)
class Wanted:
    """All `words` in the texts of one event; ASCII letters match in both cases."""

    words: tuple[str, ...]
    uid: str | None
    kinds: tuple[str, ...] | None
    before: int
    limit: int


@dataclass(frozen=True, slots=True)
class Found:
    """Oldest first. What lies before `cursor` was not looked at; 0: that was all."""

    events: tuple[StoredEvent, ...]
    cursor: int


def search(path: Path, wanted: Wanted, seconds: float = SECONDS) -> Found:
    """Blocks for about `seconds` at most. What an agent wrote is only ever a parameter."""
    ends = time.monotonic() + seconds
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    teach(db)
    found: list[StoredEvent] = []
    high = wanted.before
    words = [word.casefold() for word in wanted.words]
    try:
        while high > 1:
            low = max(1, high - STEP)
            query, values = _query(wanted, low, high, filed=events.filed(db) >= high - 1)
            for row in db.execute(query, values):
                event = events.stored(row)
                if _says(event.data, words):
                    found.append(event)
                if len(found) == wanted.limit:
                    return Found(tuple(reversed(found)), event.id if event.id > 1 else 0)
            high = low
            if time.monotonic() > ends:
                break
    finally:
        db.close()
    return Found(tuple(reversed(found)), high if high > 1 else 0)


def _query(wanted: Wanted, low: int, high: int, *, filed: bool) -> tuple[str, list[object]]:
    """Events from `low` to below `high`; `filed`: those of an agent can be found by it."""
    select, ident, agent = events.ALL, "e.id", "e.agent"
    if filed and wanted.uid is not None:
        select, ident, agent = events.FILED, "f.id", "f.agent"
    where, values = [f"{ident} >= ?", f"{ident} < ?"], list[object]([low, high])
    if wanted.uid is not None:
        where.append(f"{agent}=?")
        values.append(wanted.uid)
    if wanted.kinds is not None:
        where.append(f"e.kind in ({','.join('?' * len(wanted.kinds))})")
        values += wanted.kinds
    for word in wanted.words:
        where.append(_HAS)
        values += (_pattern(_as_in_json(word)), _pattern(word))
    return f"{select} where {' and '.join(where)} order by {ident} desc", values


_HAS = (
    "case when e.message is null then e.data like ? escape '\\'"
    " else m.sender_name || ' ' || m.recipient || ' ' || m.kind || ' ' || m.body"
    " like ? escape '\\' end"
)


def _as_in_json(word: str) -> str:
    return orjson.dumps(word).decode()[1:-1]


def _pattern(text: str) -> str:
    """For `like`: any text with this in it."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"


def _says(data: dict[str, Any], words: Sequence[str]) -> bool:
    """Whether each word stands in some text of the event; keys are no text."""
    texts = [text.casefold() for text in _texts(data)]
    return all(any(word in text for text in texts) for word in words)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
