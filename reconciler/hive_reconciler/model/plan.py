"""What the reconciler is about to do, as values: the dry run prints exactly what apply executes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    CREATE = "create"
    START = "start"
    UPDATE = "update"
    RESTART = "restart"
    STOP = "stop"
    DESTROY = "destroy"
    ADOPT = "adopt"


MARKS = {
    Kind.CREATE: "+",
    Kind.START: "+",
    Kind.UPDATE: "~",
    Kind.RESTART: "-/+",
    Kind.STOP: "-",
    Kind.DESTROY: "-",
    Kind.ADOPT: "=",
}


@dataclass(frozen=True)
class Action:
    """One step for one container. `before` and `after` are revisions."""

    kind: Kind
    agent: str
    uid: str
    container: str
    reason: str
    drift: bool  # True: reality moved, no merge asked for it
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class Blocked:
    """What should happen and does not now. `until` is unix seconds; None: until something changes."""

    agent: str
    uid: str
    reason: str  # one word, becomes a condition's reason
    message: str
    until: float | None = None


@dataclass(frozen=True)
class Plan:
    commit: str
    actions: tuple[Action, ...] = ()
    blocked: tuple[Blocked, ...] = ()

    @property
    def changes(self) -> tuple[Action, ...]:
        """The actions that change something; to adopt is only to look after."""
        return tuple(action for action in self.actions if action.kind is not Kind.ADOPT)

    def as_json(self) -> dict[str, Any]:
        return {
            "commit": self.commit,
            "changes": len(self.changes),
            "actions": [{**asdict(a), "kind": a.kind.value} for a in self.actions],
            "blocked": [asdict(b) for b in self.blocked],
        }
