"""Where the programs are that containers run, and that run containers.

On most systems /usr. A package of Nix brings a directory of its own and names it by HIVE_USR:
NixOS has nothing in /usr, and what is in that directory are links into the store.
"""

from __future__ import annotations

import os
from pathlib import Path

from .base import Bind

INSIDE = Path("/usr")
STORE = Path("/nix/store")
USR = Path(os.path.realpath(os.environ.get("HIVE_USR", INSIDE)))


def program(name: str) -> str:
    """Its path on the host."""
    return str(USR / "bin" / name)


def has(folder: str) -> bool:
    """Whether containers have this folder of /usr."""
    return (USR / folder).is_dir()


def binds() -> tuple[Bind, ...]:
    """/usr as containers see it, read-only."""
    usr = Bind(USR, INSIDE)
    return (usr, Bind(STORE, STORE)) if in_store(USR) else (usr,)


def in_store(path: Path) -> bool:
    return path.is_relative_to(STORE)
