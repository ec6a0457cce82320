"""How old something is, without a clock on the wall. Pure; seconds.

The age of the store is the time that brokers served it, by the steady clock. Now and
then a mark says what the highest ids were at which age. So a clock that jumps a day, or
ten years, deletes nothing; a broker that did not run deletes later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

DAY = 86400.0
PASSING_ROWS = 14 * DAY
SETTLED_MESSAGES = 30 * DAY
BETWEEN_MARKS = 600.0


@dataclass(frozen=True, slots=True)
class Mark:
    """At the age of `lived` seconds these were the highest ids."""

    lived: float
    message: int
    event: int


NONE = Mark(0.0, 0, 0)


def newest_before(marks: Iterable[Mark], lived: float, age: float) -> Mark:
    """What is not above this mark is older than `age` at the store's age `lived`."""
    old = [mark for mark in marks if mark.lived <= lived - age]
    return max(old, key=lambda mark: mark.lived, default=NONE)
