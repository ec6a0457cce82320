"""The sticky web port of each agent: pure, but for the small file that makes it stick."""

from __future__ import annotations

import logging
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
        found: dict[str, int] = {}
        for uid, (name, role) in sorted(agents.items(), key=lambda item: item[1]):
            found[uid] = MANAGER_PORT if role == "manager" else self._port(uid, name, agents)
        return found

    def _port(self, uid: str, name: str, agents: Mapping[str, tuple[str, Role]]) -> int:
        if uid in self._known:
            return self._known[uid]
        others = frozenset(
            self._known.get(other) or hashed(other_name)
            for other, (other_name, role) in agents.items()
            if other != uid and role != "manager"
        )
        port = choose(name, others)
        if port is None:
            log.warning("%s: all ports from %d on are taken; it shares one", name, FIRST)
            return hashed(name)
        self._store(uid, port)
        return port

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
