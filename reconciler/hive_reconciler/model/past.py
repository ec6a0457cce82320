"""What became of the last actions on an agent: the same again is counted, not listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

KEPT = 10
MESSAGE_MAX = 2000
DONE, INTERRUPTED = "Done", "Interrupted"


@dataclass(frozen=True)
class Outcome:
    """`result` is Done, Interrupted or a failure's reason; times are unix seconds."""

    kind: str  # of the action; "crash" for an end that nobody ordered
    revision: str
    result: str
    message: str
    first: float
    last: float
    count: int = 1


def noted(past: Sequence[Outcome], news: Outcome) -> tuple[Outcome, ...]:
    """`past` with `news` in front, at most KEPT."""
    key = (news.kind, news.revision, news.result)
    news = replace(news, message=news.message[:MESSAGE_MAX])
    others = []
    for outcome in past:
        if (outcome.kind, outcome.revision, outcome.result) == key:
            news = replace(news, first=outcome.first, count=outcome.count + 1)
        else:
            others.append(outcome)
    return (news, *others)[:KEPT]
