"""The packs of a repository, and what need not lie beside them any more."""

from __future__ import annotations

import struct
from collections.abc import Collection
from pathlib import Path

from .durable import sync_folder

_MAGIC = b"\xfftOc\0\0\0\2"
_NAMES = len(_MAGIC) + 256 * 4  # where they start, behind their counts by the first byte


def indexes(repository: Path) -> set[Path]:
    """Of all packs. Raises OSError."""
    return set((repository / "objects/pack").glob("pack-*.idx"))


def drop_copies(repository: Path, before: set[Path], old: float) -> None:
    """Remove loose objects that are in packs, and the packs of `before` that have nothing but
    what is in a later one, or are older than `old`. What is left is on disk. Raises OSError."""
    later = indexes(repository) - before
    if not later:
        return  # nothing had changed since
    there = set[bytes]().union(*map(names, later))
    for oid in there:
        text = oid.hex()
        (repository / "objects" / text[:2] / text[2:]).unlink(missing_ok=True)
    spare = [
        index
        for index in before
        if not index.with_suffix(".keep").exists()
        and (index.stat().st_mtime < old or names(index) <= there)
    ]
    _remove(repository / "objects/pack", spare, old)


def names(index: Path) -> set[bytes]:
    """The OIDs that are in a pack. Raises OSError."""
    data = index.read_bytes()
    if not data.startswith(_MAGIC):
        raise OSError(f"{index} is no index of a pack, version 2")
    (count,) = struct.unpack_from(">I", data, _NAMES - 4)
    return {data[start : start + 20] for start in range(_NAMES, _NAMES + 20 * count, 20)}


def _remove(folder: Path, spare: Collection[Path], old: float) -> None:
    """An index is what git sees of a pack: it goes first, and for good."""
    for index in spare:
        index.unlink()
    sync_folder(str(folder))
    for pack in folder.glob("pack-*.pack"):
        index = pack.with_suffix(".idx")
        if index in spare or (not index.exists() and pack.stat().st_mtime < old):
            for file in folder.glob(f"{pack.stem}.*"):
                file.unlink()
