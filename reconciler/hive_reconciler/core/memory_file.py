"""Memory on disk, so that a restart forgets no quarantine, no backoff and no last good spec."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hive_wire.names import is_uid

from ..model.memory import AgentMemory
from .files import write_atomically

log = logging.getLogger(__name__)

_ONE = TypeAdapter(AgentMemory)


@dataclass(frozen=True)
class Kept:
    """What survives the process. `agents` is by uid."""

    agents: Mapping[str, AgentMemory] = field(default_factory=dict)
    may_destroy: frozenset[str] = frozenset()


class MemoryFile:
    """Losable: without it everything is observed and read anew. Blocks: use it in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = b""
        self._dumped: dict[str, tuple[AgentMemory, str]] = {}  # what did not change since

    def load(self) -> Kept:
        """What can be used of the file. An agent whose entry is bad is met as for the first time."""
        try:
            self._written = self._path.read_bytes()
            content = json.loads(self._written)
            agents = {u: m for u, raw in content["agents"].items() if (m := _parse(u, raw))}
            return Kept(agents, frozenset(filter(is_uid, content["may_destroy"])))
        except FileNotFoundError:
            return Kept()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be used (%s): everything is observed anew", self._path, error)
            return Kept()

    def save(self, kept: Kept) -> None:
        """Write it if it changed. Raises OSError."""
        data = self._dump(kept)
        if data != self._written:
            write_atomically(self._path, data)
            self._written = data

    def _dump(self, kept: Kept) -> bytes:
        for uid, memory in kept.agents.items():
            known = self._dumped.get(uid)
            if known is None or known[0] is not memory:
                text = f"{json.dumps(uid)}:{_ONE.dump_json(_lasting(memory)).decode()}"
                self._dumped[uid] = (memory, text)
        self._dumped = {uid: self._dumped[uid] for uid in kept.agents}
        agents = ",".join(text for _, text in self._dumped.values())
        return f'{{"agents":{{{agents}}},"may_destroy":{json.dumps(sorted(kept.may_destroy))}}}'.encode()


def _lasting(memory: AgentMemory) -> AgentMemory:
    """What a container runs is observed, and an end while nobody looked is not taken for a crash."""
    return replace(memory, ran=None, expected=False, lost_since=None, is_lost=False)


def _parse(uid: str, raw: object) -> AgentMemory | None:
    try:
        return _ONE.validate_python(raw, strict=False) if is_uid(uid) else None
    except ValidationError as error:
        log.warning("what was remembered of %s cannot be used: %s", uid[:40], error)
        return None
