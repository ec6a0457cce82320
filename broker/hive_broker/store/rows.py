"""What is written: one `Unit` is one transaction as seen from outside.

Tuples, because each send makes several of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hive_wire.names import OPERATOR, SYSTEM

from ..core.addressing import preview

STREAM_KINDS = frozenset({"text", "thinking", "tool_use", "tool_result", "engine", "stderr"})
PASSING_KINDS = STREAM_KINDS | {"gap", "offline", "ready", "state", "tool"}
"""Events that an agent makes as many of as it likes, with nobody's leave. All others last."""
MESSAGE = "message"
MESSAGE_SIZE = 400  # characters that the event of a message has as JSON, about

Change = tuple[str, tuple[Any, ...]]
"""An SQL statement and its parameters; made in `store.changes` only."""

Holder = tuple[int, int]
"""Id and thread of the message that had a key before."""


class NewMessage(NamedTuple):
    """A message with an open delivery for each uid in `recipients`, and its event.

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

    @property
    def page(self) -> str | None:
        """The agent in whose history it stands: its one recipient, else its sender."""
        if len(self.recipients) == 1:
            return self.recipients[0]
        return None if self.sender in (OPERATOR, SYSTEM) else self.sender

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

    def in_history(self) -> dict[str, Any]:
        shown = (self.sender_name, self.to, self.kind, self.body)
        return said_of_message(self.id, shown, self.thread, self.in_reply_to)


def said_of_message(
    ident: int, shown: Sequence[str], thread: int | None, in_reply_to: int | None
) -> dict[str, Any]:
    """What the event of a message says. `shown`: sender, recipient, kind and body."""
    sender, to, kind, body = shown
    return {
        "id": ident,
        "from": sender,
        "to": to,
        "kind": kind,
        "preview": preview(body),
        "thread": thread,
        "in_reply_to": in_reply_to,
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
    source: dict[str, Any] | NewMessage
    at: float
    size: int  # characters of `data` as JSON

    @property
    def data(self) -> dict[str, Any]:
        source = self.source
        return source.in_history() if isinstance(source, NewMessage) else source

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
    """What a commit made: `held` says of ids that were not taken who had their key before."""

    events: list[StoredEvent]
    held: dict[int, Holder]
