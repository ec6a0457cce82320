"""Lists in answers that fit a frame: cut into pages by who answers, put together by who asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from .frames import size

T = TypeVar("T", dict[str, Any], str)

ROOM = 700 << 10  # bytes of rows in one answer; a frame holds 1 MiB, and other keys beside them
READINGS = 3  # of one list while it changes under the hands of who reads it


@dataclass(frozen=True)
class Listing:
    """A method that answers one page of `rows` (a list, or a text): what comes behind `after`.
    `next` is the `after` of the page behind, null on the last one. Pages with other values of
    the keys `same` are not of one moment."""

    method: str
    rows: str
    same: tuple[str, ...] = ()


STATUS = Listing("status", "agents", ("applied", "round"))  # host.sock
RETIRED = Listing("retired", "agents")  # host.sock
PART = Listing("proposal_part", "rows", ("digest",))  # host.sock
AGENTS = Listing("agents", "agents")  # broker.sock
QUESTIONS = Listing("questions", "questions")  # broker.sock
DEAD = Listing("dead", "dead")  # broker.sock
DEAD_AFTER = r"^\d{1,12}(\.\d{1,12})?(e-\d{1,2})?:\d{1,18}:[a-z0-9]{12}$"  # its `after`
METRICS = Listing("metrics", "text", ("lines",))  # broker.sock; the reconciler has one page


def fitting(rows: Iterable[T], room: int = ROOM) -> tuple[list[T], bool]:
    """The first rows that fit `room` bytes of JSON, at least one; and whether there are more.
    No row behind those is looked at but one."""
    found: list[T] = []
    for row in rows:
        room -= size(row) + 1
        if room < 0 and found:
            return found, True
        found.append(row)
    return found, False


def page(rows: Iterable[dict[str, Any]], key: str, room: int = ROOM) -> dict[str, Any]:
    """`{agents, next}` of agents' rows that are sorted by `key`."""
    found, more = fitting(rows, room)
    return {"agents": found, "next": found[-1][key] if more else None}


def read_whole(call: Callable[..., Any], listing: Listing, **params: Any) -> dict[str, Any]:
    """The answer with the rows of all pages. Raises what `call(method, **params)` raises."""
    reading = _reading(listing)
    try:
        asked = next(reading)
        while True:
            asked = reading.send(call(listing.method, **params, **asked))
    except StopIteration as end:
        return _whole(end)


async def ask_whole(
    ask: Callable[..., Awaitable[Any]], listing: Listing, **params: Any
) -> dict[str, Any]:
    """The same without blocking."""
    reading = _reading(listing)
    try:
        asked = next(reading)
        while True:
            asked = reading.send(await ask(listing.method, **params, **asked))
    except StopIteration as end:
        return _whole(end)


def _reading(listing: Listing) -> Generator[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Yields params, takes answers. What never rests long enough is told as it was read the last
    time: each row once, under the keys of its first page, so that nothing seems newer than it is."""
    for left in reversed(range(READINGS)):
        first = answer = yield {}
        rows = answer[listing.rows]
        while answer.get("next") is not None:
            answer = yield {"after": answer["next"]}
            rows = rows + answer[listing.rows]
        if not left or all(first.get(key) == answer.get(key) for key in listing.same):
            break
    return {key: value for key, value in first.items() if key != "next"} | {listing.rows: rows}


def _whole(end: StopIteration) -> dict[str, Any]:
    found: dict[str, Any] = end.value
    return found
