"""What git says about files, as values."""

from __future__ import annotations

from dataclasses import dataclass

FILE = 0o100644
EXECUTABLE = 0o100755
SYMLINK = 0o120000
SUBMODULE = 0o160000
DIRECTORY = 0o040000


@dataclass(frozen=True)
class Blob:
    """One side of a changed path. `data` is None where it is larger than was read."""

    mode: int
    oid: str
    size: int  # bytes
    data: bytes | None


@dataclass(frozen=True)
class FileChange:
    """One changed path; a side is None where the path does not exist."""

    path: str
    old: Blob | None
    new: Blob | None


def agent_of(path: str) -> str | None:
    """The agent whose directory `path` lies in."""
    parts = path.split("/")
    return parts[1] if len(parts) >= 3 and parts[0] == "agents" else None
