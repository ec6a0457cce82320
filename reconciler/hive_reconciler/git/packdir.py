"""The packs of a repository, and what need not lie beside them any more."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

from .durable import sync_folder

_MAGIC = b"\xfftOc\0\0\0\2"
_NAMES = len(_MAGIC) + 256 * 4  # where they start, behind their counts by the first byte


def indexes(repository: Path) -> set[Path]:
    """Of all packs. Raises OSError."""
    return set((repository / "objects/pack").glob("pack-*.idx"))


def drop_copies(repository: Path, before: set[Path], old: float) -> None:
    """Remove loose objects that are in packs, and the packs of `before` that have nothing but
    what is in a later one, or were last used before `old`. What is left is on disk. Raises
    OSError."""
    later = indexes(repository) - before
    if not later:
        return  # nothing had changed since
    there = set[bytes]().union(*map(names, later))
    for oid in there:
        text = oid.hex()
        (repository / "objects" / text[:2] / text[2:]).unlink(missing_ok=True)
    copies = [index for index in before if names(index) <= there]
    for index in before:  # an index is what git sees of a pack: it goes first, and for good
        if index.with_suffix(".keep").exists():
            continue
        if index in copies or _used(index) < old:
            index.unlink()
    sync_folder(str(repository / "objects/pack"))
    for index in before:
        if not index.exists():
            for file in index.parent.glob(f"{index.stem}.*"):
                file.unlink()


def drop_leftovers(repository: Path, old: float) -> None:
    """Remove what writers left that were killed before `old`. Raises OSError."""
    objects = repository / "objects"
    halves = (pack for pack in objects.glob("pack/pack-*.pack") if not _index_of(pack).exists())
    for file in (*objects.glob("tmp_obj_*"), *objects.glob("pack/tmp_*"), *halves):
        with suppress(FileNotFoundError):  # of a writer that lives
            if file.stat().st_mtime < old:
                file.unlink()


def names(index: Path) -> set[bytes]:
    """The OIDs that are in a pack. Raises OSError."""
    data = index.read_bytes()
    if not data.startswith(_MAGIC):
        raise OSError(f"{index} is no index of a pack, version 2")
    (count,) = struct.unpack_from(">I", data, _NAMES - 4)
    return {data[start : start + 20] for start in range(_NAMES, _NAMES + 20 * count, 20)}


def _index_of(pack: Path) -> Path:
    return pack.with_suffix(".idx")


def _used(index: Path) -> float:
    """When something was last written that a pack has: git stamps the pack then, not the index."""
    return index.with_suffix(".pack").stat().st_mtime
