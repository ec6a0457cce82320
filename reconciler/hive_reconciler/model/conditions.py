"""Conditions of an agent, as Kubernetes has them: in sync and healthy are two axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal


class Type(StrEnum):
    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    HEALTHY = "Healthy"
    SUSPENDED = "Suspended"


Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True)
class Condition:
    """`since` is the time (unix seconds) at which status or reason last changed."""

    type: Type
    status: Status
    reason: str
    message: str
    since: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "type": self.type.value,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "since": self.since,
        }


def evolve(old: Iterable[Condition], new: Iterable[Condition], now: float) -> tuple[Condition, ...]:
    """`new`, each with the time since when it holds."""
    before = {condition.type: condition for condition in old}
    return tuple(_dated(before.get(c.type), c, now) for c in new)


def _dated(old: Condition | None, new: Condition, now: float) -> Condition:
    if old is None or (old.status, old.reason) != (new.status, new.reason):
        return replace(new, since=now)
    return old if old.message == new.message else replace(new, since=old.since)
