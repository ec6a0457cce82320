"""The names of hive tool calls: unique in a turn, and the same again for a repeated call.

After a crash the resumed engine may repeat a call whose result it never saw. Such a call
gets its old name back, so that the broker answers it from the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Set
from typing import Any, Protocol

from .spool import Call, Calls


class Log(Protocol):
    """Where calls are written down; the spool is one."""

    def note_call(self, call: Call) -> None: ...


class CallBook:
    """Names of one turn's calls. `resumed` is what an earlier process wrote down of it, and
    `kept` the uses whose results the engine that goes on has."""

    def __init__(
        self, turn: str, log: Log, resumed: Calls | None = None, kept: Set[str] = frozenset()
    ) -> None:
        self.turn = turn
        self._log = log
        self._last = resumed.last if resumed else 0
        self._made: dict[str, Call] = {c.name: c for c in resumed.made} if resumed else {}
        self._open = set[str]()  # called by the engine that runs now
        self._unseen: dict[str, list[str]] = {}  # digest → names whose result may be unknown
        self._answered: dict[str, bool] = {}  # name → whether the engine went on with the result
        self.engine_lost(kept)

    @property
    def uses(self) -> frozenset[str]:
        """All uses of tools that made a call."""
        return frozenset(call.use for call in self._made.values())

    @property
    def handed(self) -> tuple[str, ...]:
        """Calls whose result the engine has, or gets: one that waits is asked again by its name."""
        lost = {name for names in self._unseen.values() for name in names}
        return tuple(name for name in self._made if name not in lost)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Calls whose result no engine is known to have, oldest first."""
        seen = {name for name, went_on in self._answered.items() if went_on}
        return tuple(sorted(self._made.keys() - seen, key=lambda name: (len(name), name)))

    def name(self, tool: str, arguments: Any, use: str) -> str:
        """The name of a call that the engine makes now, in that use of a tool."""
        digest = _digest(tool, arguments)
        repeated = self._unseen.get(digest)
        if repeated:
            name = repeated.pop(0)
        else:
            self._last += 1
            name = f"{self.turn}:{self._last}"
        self._made[name] = call = Call(name, digest, use)
        self._log.note_call(call)
        self._open.add(name)
        return name

    def answered(self, name: str) -> None:
        """The result was written to the engine."""
        if name in self._open:  # else an engine that is gone asked
            self._answered.setdefault(name, False)

    def progressed(self) -> None:
        """The engine went on to the model with what it had: those results it has."""
        self._answered = dict.fromkeys(self._answered, True)

    def engine_lost(self, kept: Set[str]) -> None:
        """The engine is gone. The next one has the results of the uses `kept`; the other calls
        can be made again."""
        self._open.clear()
        self._answered = {c.name: True for c in self._made.values() if c.use in kept}
        self._unseen = {}
        for call in self._made.values():
            if call.name not in self._answered:
                self._unseen.setdefault(call.digest, []).append(call.name)


def _digest(tool: str, arguments: Any) -> str:
    canonical = json.dumps([tool, arguments], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
