"""The sticky web port of each agent: pure, but for the small file that makes it stick."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from hive_wire.paths import Layout
from hive_wire.terms import Role

from .files import make_home, write_atomically

log = logging.getLogger(__name__)

MANAGER_PORT = 8000
FIRST, COUNT = 8100, 900
_OFFSET, _PRIME = 0x811C9DC5, 0x01000193


def hashed(name: str) -> int:
    """FNV-1a-32 of the name, within 8100-8999."""
    value = _OFFSET
    for byte in name.encode():
        value = (value ^ byte) * _PRIME & 0xFFFFFFFF
    return FIRST + value % COUNT


def choose(name: str, claimed: frozenset[int]) -> int | None:
    """The first port from the name's hash on that nobody claims; None when all are taken."""
    first = hashed(name) - FIRST
    probes = (FIRST + (first + step) % COUNT for step in range(COUNT))
    return next((port for port in probes if port not in claimed), None)


class Ports:
    """By uid. Blocks: call it in a thread."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: dict[str, int] = {}

    def of(self, agents: Mapping[str, tuple[str, Role]]) -> Mapping[str, int]:
        """The port of each (name, role), stored for those that had none."""
        for uid in agents.keys() - self._known.keys():
            if (stored := _read(self._file(uid))) is not None:
                self._known[uid] = stored
        found = {u: MANAGER_PORT for u, (_, role) in agents.items() if role == "manager"}
        named = {u: name for u, (name, _) in agents.items() if u not in found}
        found |= {uid: self._known[uid] for uid in named if uid in self._known}
        claims = Counter(found.get(uid) or hashed(name) for uid, name in named.items())
        sharing = 0
        for uid in sorted(named.keys() - found.keys(), key=lambda u: named[u]):
            name = named[uid]
            claims[hashed(name)] -= 1  # its own
            port = choose(name, frozenset(+claims)) if len(claims) < COUNT else None
            sharing += port is None
            found[uid] = hashed(name) if port is None else port
            claims[found[uid]] += 1
            if port is not None:
                self._store(uid, port)
        if sharing:
            log.warning("all ports from %d on are taken: %d agents share some", FIRST, sharing)
        return found

    def _store(self, uid: str, port: int) -> None:
        self._known[uid] = port
        make_home(self._layout, uid)
        write_atomically(self._file(uid), f"{port}\n".encode(), 0o644)

    def _file(self, uid: str) -> Path:
        return self._layout.agent(uid) / "port"


def _read(path: Path) -> int | None:
    try:
        port = int(path.read_text())
    except (OSError, ValueError):
        return None
    return port if FIRST <= port < FIRST + COUNT else None
