"""Three-way merge of one file's contents, wherever they come from: no repository has to have them."""

from __future__ import annotations

from collections.abc import Mapping

import pygit2
from pygit2.enums import FileMode, ObjectType

from ..model.checks import MAX_FILE
from ..model.tree import FILE
from .objects import object_id


def merge_contents(was: bytes, mine: bytes, other: bytes) -> bytes | None:
    """None when the sides contradict each other, or are no text that may stand here."""
    sides = (was, mine, other)
    if any(len(side) > MAX_FILE or b"\0" in side for side in sides):
        return None
    oids = [object_id(ObjectType.BLOB, side) for side in sides]
    store = pygit2.Odb()
    store.add_backend(_Held(dict(zip(oids, sides, strict=True))), 1)
    repo = pygit2.Repository()
    repo.set_odb(store)
    ancestor, ours, theirs = (
        pygit2.IndexEntry("file", pygit2.Oid(hex=oid), FileMode(FILE)) for oid in oids
    )
    try:
        result = repo.merge_file_from_index(ancestor, ours, theirs)
        merged: str = result.contents
    except (RuntimeError, UnicodeDecodeError):  # nothing is left of it, or it is no UTF-8
        return None
    return merged.encode() if result.automergeable else None


class _Held(pygit2.OdbBackend):
    """Has just these files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__()
        self._files = files

    def read_cb(self, oid: pygit2.Oid) -> tuple[int, bytes]:
        return int(ObjectType.BLOB), self._files[str(oid)]

    def exists_cb(self, oid: pygit2.Oid) -> bool:
        return str(oid) in self._files
