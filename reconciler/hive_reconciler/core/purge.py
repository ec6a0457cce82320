"""Removes for good what a retired agent left. No path here comes from an agent: only from its uid."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hive_wire.names import is_uid
from hive_wire.paths import Layout

from ..runtime.skeleton import remove

_ASIDE = ".purged-"


def purge(layout: Layout, uid: str) -> bool:
    """Its state, the engine's session, its port and sockets. False when there was nothing.

    Blocks; nothing of it is opened, and no link in it is followed. Raises OSError when something
    is left; a later purge or start goes on with it.
    """
    if not is_uid(uid):
        raise ValueError(f"{uid[:40]!r} is no uid")
    found = [path for path in (layout.agent(uid), layout.agent_run(uid)) if os.path.lexists(path)]
    for path in found:  # in one step it is nobody's any more
        path.rename(path.parent / f"{_ASIDE}{uid}-{secrets.token_hex(4)}")
    finish(layout)
    return bool(found)


def finish(layout: Layout) -> None:
    """Remove what a purge that was killed set aside. Raises OSError when something is left."""
    for folder in (layout.root / "agents", layout.agents_run):
        remove(*_set_aside(folder))
        if left := _set_aside(folder):
            raise OSError(f"{left[0]} cannot be removed")


def _set_aside(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder) if name.startswith(_ASIDE)]
    except FileNotFoundError:
        return []
