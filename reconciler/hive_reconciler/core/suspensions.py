"""Which agents people took out of the loop. Kept until somebody resumes them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from .files import write_atomically

log = logging.getLogger(__name__)

SWARM = "*"  # the key of a suspension of all


@dataclass(frozen=True)
class Suspension:
    """`since` is unix seconds."""

    by: str
    reason: str
    since: float

    def __str__(self) -> str:
        at = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.since))
        return f"suspended by {self.by} since {at}: {self.reason}"


class Suspensions:
    """By uid, so that a re-used name inherits none. Blocks: load and set in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: dict[str, Suspension] = {}
        self._one = Lock()  # two people may suspend at once

    def words(self) -> Mapping[str, str]:
        """For the planner: what to show, by uid, or under SWARM for all."""
        return {key: str(suspension) for key, suspension in self.found.items()}

    def load(self) -> None:
        """A file that cannot be read suspends all: who was suspended must not be restarted."""
        try:
            content = json.loads(self._path.read_bytes())
            self.found = {
                str(key): Suspension(str(raw["by"]), str(raw["reason"]), float(raw["since"]))
                for key, raw in content.items()
            }
        except FileNotFoundError:
            self.found = {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be used: %s", self._path, error)
            why = f"{self._path} cannot be read; see who is to be suspended, then hive resume"
            self.found = {SWARM: Suspension("hive-c0re", why, time.time())}

    def set(self, key: str, suspension: Suspension | None) -> bool:
        """Suspend, or resume with None. False when there was nothing to resume. Raises OSError."""
        with self._one:
            after = {**self.found}
            if suspension is not None:
                after[key] = suspension
            elif after.pop(key, None) is None:
                return False
            content = {known: asdict(value) for known, value in after.items()}
            write_atomically(self._path, json.dumps(content, indent=2).encode())
            self.found = after
            return True
