"""The names of hive tool calls: unique in a turn, and the same again for a repeated call.

After a crash the resumed engine may repeat a call whose result it never saw. Such a call
gets its old name back, so that the broker answers it from the store.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

from .spool import Calls


class Log(Protocol):
    """Where calls are written down; the spool is one."""

    def note_call(self, name: str, digest: str) -> None: ...

    def note_handed(self, name: str) -> None: ...


class CallBook:
    """Names of one turn's calls. `resumed` is what an earlier process wrote down of it."""

    def __init__(self, turn: str, log: Log, resumed: Calls | None = None) -> None:
        self.turn = turn
        self._log = log
        self._last = resumed.last if resumed else 0
        self._unseen: dict[str, list[str]] = {}  # digest → names whose result may be unknown
        self._handed = list(resumed.handed) if resumed else []
        self._open: dict[str, str] = {}  # name → digest, called by the engine that runs now
        self._answered: list[str] = []  # answered, but the engine may not have kept it yet
        for name, digest in resumed.open if resumed else ():
            self._unseen.setdefault(digest, []).append(name)

    @property
    def handed(self) -> tuple[str, ...]:
        """Calls whose result the engine has, as long as it lives."""
        return (*self._handed, *self._answered)

    @property
    def unseen(self) -> tuple[str, ...]:
        """Calls whose result no engine is known to have, oldest first."""
        lost = (name for names in self._unseen.values() for name in names)
        return tuple(sorted({*lost, *self._open}, key=lambda name: (len(name), name)))

    def name(self, tool: str, arguments: Any) -> str:
        """The name of a call that the engine makes now."""
        digest = _digest(tool, arguments)
        repeated = self._unseen.get(digest)
        if repeated:
            name = repeated.pop(0)
        else:
            self._last += 1
            name = f"{self.turn}:{self._last}"
            self._log.note_call(name, digest)
        self._open[name] = digest
        return name

    def answered(self, name: str) -> None:
        """The result was written to the engine."""
        if name in self._open:
            self._answered.append(name)

    def progressed(self) -> None:
        """The engine went on to the model with what it had: those results it has for good."""
        for name in self._answered:
            self._handed.append(name)
            self._open.pop(name, None)
            self._log.note_handed(name)
        self._answered.clear()

    def engine_lost(self) -> None:
        """The engine is gone: what it may not have kept can be called again."""
        for name, digest in self._open.items():
            self._unseen.setdefault(digest, []).append(name)
        self._open.clear()
        self._answered.clear()


def _digest(tool: str, arguments: Any) -> str:
    canonical = json.dumps([tool, arguments], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
