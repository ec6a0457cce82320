"""What containers printed: kept by the shim in two files, read from their ends."""

from __future__ import annotations

from pathlib import Path

LIMIT = 1 << 20  # bytes of one file; two are kept
LONGEST = 4000  # characters of a line


def tail(path: Path, limit: int) -> tuple[str, ...]:
    """The last `limit` lines, oldest first, as they were printed: control characters too."""
    data = b""
    for file in (path.with_name(path.name + ".1"), path):
        try:
            data += file.read_bytes()
        except FileNotFoundError:
            continue
    lines = data.decode(errors="replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    return tuple(_cut(line.rstrip("\r")) for line in lines[-limit:]) if limit > 0 else ()


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else line[:LONGEST] + "…"
