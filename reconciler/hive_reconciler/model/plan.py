"""What the reconciler is about to do, as values: the dry run prints exactly what apply executes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hive_wire.frames import size
from hive_wire.pages import ROOM, fitting


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

    def as_json(self, room: int = ROOM) -> dict[str, Any]:
        """In `room` bytes, first what is about the whole swarm and what changes something;
        the rest is counted."""
        waiting = sorted(self.blocked, key=lambda b: b.agent != "")
        blocked, _ = fitting(({**vars(b)} for b in waiting), room // 2)
        doing = sorted(self.actions, key=lambda a: a.kind is Kind.ADOPT)
        rows = ({**vars(a), "kind": a.kind.value} for a in doing)
        actions, _ = fitting(rows, room - size(blocked))
        left_out = len(doing) - len(actions) + len(waiting) - len(blocked)
        return {
            "commit": self.commit,
            "changes": len(self.changes),
            "actions": actions,
            "blocked": blocked,
            "left_out": left_out,
        }
