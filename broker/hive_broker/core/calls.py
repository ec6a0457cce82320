"""Tool calls that took effect, so that none does so twice in the turns of one message.

A call has a name (`turn:number`) when the harness relayed it. The same name again is
the same call, if it asks the same: a harness may have lost its names to a power cut. A call whose result the engine never got, or that a fresh session is
bound to repeat, answers the next call with the same tool and arguments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from typing import Any

from .delivery import Turn


@dataclass(frozen=True, slots=True)
class Call:
    """`waking` is the message whose turn made the call; `repeat` that it may answer another."""

    id: int
    name: str
    waking: int
    tool: str
    digest: str
    result: str
    repeat: bool = False

    def is_like(self, other: Call) -> bool:
        """Whether both were made for the same message, with the same tool and arguments."""
        mine = (self.waking, self.tool, self.digest)
        return mine == (other.waking, other.tool, other.digest)


def digest_of(arguments: dict[str, Any]) -> str:
    canonical = json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def wish_key(uid: str, call: Call, alike: int) -> str:
    """Names a wish to the reconciler, the same when it is asked again because its answer was
    lost. `alike`: how many calls of this message with this tool and arguments were answered."""
    parts = [uid, call.waking, call.tool, call.digest, alike]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def turn_of(name: str) -> Turn:
    """The turn that made the call of this name. Raises ValueError."""
    turn, _, number = name.partition(":")
    if not number.isdecimal() or len(name) > 60:
        raise ValueError(f"{name[:60]!r} is no name of a call")
    return Turn.parse(turn)


class CallLog:
    """The calls of one agent's open messages, oldest first."""

    def __init__(self, calls: Iterable[Call] = ()) -> None:
        self._calls: dict[int, Call] = {call.id: call for call in calls}

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def names(self) -> set[str]:
        return {call.name for call in self._calls.values()}

    def find(self, name: str, waking: int, tool: str, digest: str) -> Call | None:
        """The stored call that answers this one, if there is one."""
        wanted = waking, tool, digest
        alike = [c for c in self._calls.values() if (c.waking, c.tool, c.digest) == wanted]
        same = [c for c in alike if c.name == name]
        return next(iter(same or (c for c in alike if c.repeat)), None)

    def alike(self, call: Call) -> int:
        """How many calls of the same message, tool and arguments are stored."""
        return sum(call.is_like(stored) for stored in self._calls.values())

    def add(self, call: Call) -> None:
        self._calls[call.id] = call

    def renamed(self, call: Call, name: str) -> Call:
        """`call` as it stands once it has answered the call `name`."""
        return replace(call, name=name, repeat=False)

    def handed(self, turn: Turn, names: frozenset[str]) -> None:
        """The engine has the results of `names` only, of all calls of this turn."""
        for call in list(self._calls.values()):
            if call.name.startswith(f"{turn.id}:"):
                self._calls[call.id] = replace(call, repeat=call.name not in names)

    def repeat(self, names: Set[str]) -> None:
        """No engine has the results of these."""
        for call in list(self._calls.values()):
            if call.name in names:
                self._calls[call.id] = replace(call, repeat=True)

    def repeat_all(self, waking: int) -> None:
        """The session is gone: the next attempt begins from nothing."""
        for call in list(self._calls.values()):
            if call.waking == waking:
                self._calls[call.id] = replace(call, repeat=True)

    def forget(self, waking: int) -> None:
        self._calls = {i: c for i, c in self._calls.items() if c.waking != waking}
