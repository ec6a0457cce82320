"""Which operations are under way, on disk: so that a start after a kill can say what it met.

Nothing is resumed from here: the next start observes and plans anew.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from .files import write_atomically

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Open:
    """An operation that has begun to act. `since` is unix seconds."""

    uid: str
    agent: str
    kind: str
    revision: str
    since: float


class Journal:
    """Blocks: use it in a thread. Losable, and no reason for an operation to fail."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, Open] = {}  # by uid
        self._one = Lock()  # many operations begin and end at once, and the last to write is right

    def take(self) -> list[Open]:
        """What a former process left open; from now on it is not."""
        try:
            found = [Open(**raw) for raw in json.loads(self._path.read_bytes())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s cannot be used: %s", self._path, error)
            found = []
        with self._one:
            self._write()
        return found

    def begin(self, operation: Open) -> None:
        with self._one:
            self._open[operation.uid] = operation
            self._write()

    def end(self, uid: str) -> None:
        with self._one:
            if self._open.pop(uid, None) is not None:
                self._write()

    def _write(self) -> None:
        try:  # not durable: what was under way when the machine went down is no news
            data = json.dumps([vars(one) for one in self._open.values()]).encode()
            write_atomically(self._path, data, durable=False)
        except OSError as error:
            log.warning("%s is not written: %s", self._path, error)
