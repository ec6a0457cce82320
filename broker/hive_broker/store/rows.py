"""What is written: one `Unit` is one transaction as seen from outside.

Tuples, because each send makes five of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

STREAM_KINDS = frozenset({"text", "thinking", "tool_use", "tool_result", "engine", "stderr"})

Change = tuple[str, tuple[Any, ...]]
"""An SQL statement and its parameters; made in `store.changes` only."""


class NewMessage(NamedTuple):
    """A message with an open delivery for each uid in `recipients`.

    `hops` says how many agents' turns it is away from a person; it is delivered from
    `not_before` on (unix seconds).
    """

    id: int
    sender: str
    sender_name: str
    to: str
    kind: str
    body: str
    thread: int
    at: float
    recipients: tuple[str, ...]
    data: dict[str, Any] | None = None
    in_reply_to: int | None = None
    key: str | None = None
    hops: int = 0
    not_before: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """As `hive_wire.protocol.Message`."""
        return {
            "id": self.id,
            "sender": self.sender_name,
            "to": self.to,
            "kind": self.kind,
            "body": self.body,
            "data": self.data,
            "thread": self.thread,
            "in_reply_to": self.in_reply_to,
            "at": self.at,
        }


class NewEvent(NamedTuple):
    """An event before it has its id and its number within the agent's history."""

    agent: str | None
    kind: str
    data: dict[str, Any]
    at: float
    turn: str | None = None


class StoredEvent(NamedTuple):
    id: int
    agent: str | None
    seq: int
    turn: str | None
    kind: str
    data: dict[str, Any]
    at: float
    size: int  # characters of `data` as JSON

    @property
    def stream(self) -> bool:
        return self.kind in STREAM_KINDS

    def as_json(self, name: str) -> dict[str, Any]:
        """As `hive_wire.protocol.Event`."""
        return {
            "id": self.id,
            "agent": self.agent,
            "name": name,
            "seq": self.seq,
            "turn": self.turn,
            "kind": self.kind,
            "data": self.data,
            "at": self.at,
        }


class Unit(NamedTuple):
    """Messages, events and changes that reach the disk together or not at all.

    A unit with a keyed message has that message alone; when its key was used before,
    nothing of the unit is written. A vital one lets something end: it is written while
    the disk is full, too, as far as the ballast goes.
    """

    messages: tuple[NewMessage, ...] = ()
    events: tuple[NewEvent, ...] = ()
    changes: tuple[Change, ...] = ()
    vital: bool = False


class Written(NamedTuple):
    """`duplicate`: id and thread of the message that had the key before."""

    events: tuple[StoredEvent, ...] = ()
    duplicate: tuple[int, int] | None = None
