"""Memory on disk, so that a restart forgets no quarantine, no backoff and no last good spec."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from pydantic import TypeAdapter, ValidationError

from hive_wire.names import is_uid

from ..model.layered import Layered, since
from ..model.memory import AgentMemory
from .files import write_atomically

log = logging.getLogger(__name__)

ALLOWED = "may-destroy.json"
_ONE = TypeAdapter(AgentMemory)


@dataclass(frozen=True)
class Kept:
    """What survives the process. `agents` is by uid."""

    agents: Mapping[str, AgentMemory] = field(default_factory=dict)
    may_destroy: frozenset[str] = frozenset()


class MemoryFiles:
    """One file for each agent, so that what is written is what changed, and one that is bad costs
    that agent's memory alone. Losable: without it everything is observed and read anew.

    Whole for readers, whoever is killed; not synced, so that a machine that goes down may forget
    its last seconds. Blocks: use it in a thread.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = Kept()
        self._one = Lock()  # one that hangs may outlive the round that began it

    def load(self) -> Kept:
        """What can be used. An agent whose file is bad is met as for the first time."""
        files = [path for path in self._folder.glob("*.json") if is_uid(path.stem)]
        found = {path.stem: memory for path in files if (memory := _read(path)) is not None}
        self._kept = Kept(found, frozenset(filter(is_uid, self._allowed())))
        return self._kept

    def _allowed(self) -> list[str]:
        try:
            return [str(uid) for uid in json.loads((self._folder / ALLOWED).read_bytes())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s cannot be used: %s", self._folder / ALLOWED, error)
            return []

    def save(self, now: Kept) -> None:
        """Write what changed since the last time. Raises OSError; then nothing is on disk of those
        that could not be written: none is better than a last good spec that was superseded."""
        with self._one:
            before = self._kept
            changed = sorted(since(before.agents, now.agents))
            former = [before.agents.get(uid) for uid in changed]
            try:
                self._save(before, now, changed)
            finally:
                del before
                while former:  # one by one: else all are freed in one step that no thread ends
                    former.pop()

    def _save(self, before: Kept, now: Kept, changed: Sequence[str]) -> None:
        failed, failure = set[str](), None
        self._folder.mkdir(exist_ok=True)
        for uid in changed:
            path, memory = self._folder / f"{uid}.json", now.agents.get(uid)
            if memory is None:
                path.unlink(missing_ok=True)
            elif uid not in before.agents or _lasting(memory) != _lasting(before.agents[uid]):
                try:
                    write_atomically(path, _ONE.dump_json(_lasting(memory)), durable=False)
                except OSError as error:
                    path.unlink(missing_ok=True)
                    failed.add(uid)
                    failure = error
        if failure is not None:
            self._kept = Kept(Layered.of(now.agents).changed({}, failed), before.may_destroy)
            raise failure
        if now.may_destroy != before.may_destroy:
            allowed = json.dumps(sorted(now.may_destroy)).encode()
            write_atomically(self._folder / ALLOWED, allowed, durable=False)
        self._kept = now


def _lasting(memory: AgentMemory) -> AgentMemory:
    """What a container runs is observed, and an end while nobody looked is not taken for a crash."""
    return replace(memory, ran=None, expected=False, lost_since=None, lost_at=0.0, is_lost=False)


def _read(path: Path) -> AgentMemory | None:
    try:
        return _ONE.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        log.warning("what was remembered in %s cannot be used: %s", path, error)
        return None
