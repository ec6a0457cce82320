"""Agents as they were read, by the OID of their directory, on disk: a start reads only new ones.

A log of lines, each with a digest of all that reading depends on beside the directory, the
checksum of the rest, and some agents. Losable: a line that is not exactly what was written, or
was written by another hyperhive, is read anew from git. Used in the git thread only.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path

from pydantic import TypeAdapter

from hive_wire import spec, terms

from ..model import desired
from ..model.desired import Entry, Valid

log = logging.getLogger(__name__)

LINE = 250  # agents: parsed in a few milliseconds, in which nothing else runs
SPARE = 1000  # agents on disk beyond twice those that there are, before it is written anew
_AGENTS = TypeAdapter(dict[str, Valid])


class Parsed:
    """`path` None keeps nothing on disk. `shared`: the digest of all that reading depends on."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._loaded: dict[str, dict[str, Valid]] = {}  # until they are taken over
        self._known: dict[str, set[str]] = {}  # trees that are on disk, by the digest
        self._kept = 0  # agents in the file, former ones, too

    def get(self, shared: str, tree: str) -> Valid | None:
        if shared not in self._known:
            found = self._loaded[shared] = dict(self._load(shared))
            self._known[shared] = set(found)
        return self._loaded.get(shared, {}).get(tree)

    def keep(self, shared: str, fresh: Iterable[Entry], agents: Mapping[str, Entry]) -> None:
        """Write down those of `fresh` that are new. What cannot be written is read again."""
        known = self._known.setdefault(shared, set())
        self._loaded.pop(shared, None)
        new = [a for a in fresh if isinstance(a, Valid) and a.tree not in known]
        if self._path is None or not new:
            return
        anew = self._kept + len(new) > 2 * len(agents) + SPARE
        if anew:
            new = [agent for agent in agents.values() if isinstance(agent, Valid)]
            self._known, known, self._kept = {shared: set()}, set(), 0
        try:
            with self._path.open("wb" if anew else "ab") as file:
                file.writelines(_lines(shared, new))
        except OSError as error:
            log.warning("%s is not written: %s", self._path, error)
        self._kept += len(new)
        known.update(agent.tree for agent in new)
        self._known[shared] = known

    def _load(self, shared: str) -> Iterator[tuple[str, Valid]]:
        if self._path is None:
            return
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("%s cannot be used, so all is read from git: %s", self._path, error)
            return
        begin = _written(shared)
        for line in lines:
            digest, _, text = line.removeprefix(begin).partition(b" ")
            if line.startswith(begin) and digest == _checksum(text):
                agents = _AGENTS.validate_json(text)
                self._kept += len(agents)
                yield from agents.items()


def _lines(shared: str, agents: Iterable[Valid]) -> Iterator[bytes]:
    left = iter(agents)
    while some := {agent.tree: agent for agent in islice(left, LINE)}:
        text = _AGENTS.dump_json(some, exclude_defaults=True)
        yield b"%s%s %s\n" % (_written(shared), _checksum(text), text)


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def _written(shared: str) -> bytes:
    """What the lines of this hyperhive begin with: another model may read a file otherwise."""
    return hashlib.sha256(_model() + shared.encode()).hexdigest().encode() + b" "


@cache
def _model() -> bytes:
    sources = (spec.__file__, terms.__file__, desired.__file__)
    return b"".join(Path(source).read_bytes() for source in sources)
