"""Trees as plain values: reading, editing and comparing them by OID.

Only subtrees whose OIDs differ are ever opened, so a change of one agent costs the same in
a swarm of ten thousand; and every walk is bounded, so a hostile tree cannot expand.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import pygit2
from pygit2.enums import ObjectType

from ..model.tree import DIRECTORY, SUBMODULE, Blob, FileChange
from .errors import ReadFailed

_ENTRY = re.compile(rb"([0-7]{5,6}) ([^\0]+)\0(.{20})", re.DOTALL)
_REFERRED = re.compile(rb"^(?:tree|parent) ([0-9a-f]{40})$", re.MULTILINE)
_KINDS = {
    int(ObjectType.COMMIT): b"commit",
    int(ObjectType.TREE): b"tree",
    int(ObjectType.BLOB): b"blob",
}
_CACHE = 4096
Raw = tuple[int, bytes]  # an object's type and content
EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


class TooMany(Exception):
    """A comparison would go over more paths than allowed."""


class Entry(NamedTuple):
    """One line of a tree. A tuple: thousands of them are compared at every step."""

    mode: int
    oid: str

    @property
    def is_tree(self) -> bool:
        return self.mode == DIRECTORY


Entries = Mapping[str, Entry]


class Trees:
    """The trees and blobs of one repository. Used in the git thread only."""

    def __init__(self, repo: pygit2.Repository) -> None:
        self.repo = repo
        self._cache: dict[str, dict[str, Entry]] = {}
        self._scratch: dict[str, Raw] | None = None

    # -- scratch -----------------------------------------------------------------

    @contextmanager
    def scratch(self, objects: Mapping[str, Raw] | None = None) -> Iterator[None]:
        """Objects written inside stay in memory, beside `objects`, until `persist`."""
        assert self._scratch is None, "scratches do not nest"
        self._scratch = dict(objects or {})
        try:
            yield
        finally:
            self._scratch = None

    def persist(self, oid: str) -> None:
        """Put a scratch object, and the scratch objects it refers to, into the repository."""
        scratch = self._scratch or {}
        done: set[str] = set()
        todo = [(oid, False)]
        while todo:
            oid, below_done = todo.pop()
            raw = scratch.get(oid)
            if raw is None or oid in done:
                continue
            if below_done:  # what an object names is there before it: presence means complete
                self.repo.odb.write(*raw)
                done.add(oid)
            else:
                todo.append((oid, True))
                todo += ((below, False) for below in referred(raw) if below in scratch)

    # -- reading ---------------------------------------------------------------

    def entries(self, tree: str) -> Entries:
        """What a tree lists, by name. Raises ReadFailed."""
        if tree == EMPTY:
            return {}
        known = self._cache.get(tree)
        if known is not None:
            return known
        kind, raw = self._read(tree)
        if kind != ObjectType.TREE:
            raise ReadFailed(f"{tree} is no tree")
        found = {
            name.decode(errors="surrogateescape"): Entry(int(mode, 8), oid.hex())
            for mode, name, oid in _ENTRY.findall(raw)
        }
        if len(self._cache) >= _CACHE:
            self._cache.clear()
        self._cache[tree] = found
        return found

    def entry(self, tree: str, path: str) -> Entry | None:
        """The entry at `path`, or None."""
        *parents, name = path.split("/")
        for part in parents:
            below = self.entries(tree).get(part)
            if below is None or not below.is_tree:
                return None
            tree = below.oid
        return self.entries(tree).get(name)

    def subtree(self, tree: str, path: str) -> str:
        """The OID of the directory at `path`; the empty tree where there is none."""
        found = self.entry(tree, path)
        return found.oid if found is not None and found.is_tree else EMPTY

    def blob(self, oid: str) -> bytes:
        """Raises ReadFailed."""
        kind, data = self._read(oid)
        if kind != ObjectType.BLOB:
            raise ReadFailed(f"{oid} is no file")
        return data

    def file(self, tree: str, path: str) -> bytes | None:
        found = self.entry(tree, path)
        return None if found is None or found.is_tree else self.blob(found.oid)

    def size(self, oid: str) -> int:
        """Bytes of an object."""
        if self._scratch is not None and oid in self._scratch:
            return len(self._scratch[oid][1])
        try:
            return int(self.repo.odb.read_header(pygit2.Oid(hex=oid))[1])
        except (KeyError, pygit2.GitError) as error:
            raise ReadFailed(f"object {oid} cannot be read: {error}") from None

    def _read(self, oid: str) -> Raw:
        if self._scratch is not None and oid in self._scratch:
            return self._scratch[oid]
        try:
            kind, data = self.repo.odb.read(pygit2.Oid(hex=oid))
        except (KeyError, ValueError, OSError, pygit2.GitError) as error:
            raise ReadFailed(f"object {oid} cannot be read: {error}") from None
        return int(kind), data

    # -- comparing -------------------------------------------------------------

    def changed(
        self, old: str, new: str, limit: int
    ) -> list[tuple[str, Entry | None, Entry | None]]:
        """Paths that differ, sorted. Raises TooMany above `limit` paths or directories."""
        found: list[tuple[str, Entry | None, Entry | None]] = []
        todo = [("", old, new)]
        opened = 0
        while todo:
            prefix, left, right = todo.pop()
            opened += 1
            if opened > limit:
                raise TooMany
            before, after = self.entries(left), self.entries(right)
            for name in {name for name, _ in before.items() ^ after.items()}:
                a, b = before.get(name), after.get(name)
                path = prefix + name
                if (a is not None and a.is_tree) or (b is not None and b.is_tree):
                    todo.append((path + "/", tree_oid(a), tree_oid(b)))
                    a, b = _leaf(a), _leaf(b)
                if a is not None or b is not None:
                    found.append((path, a, b))
                if len(found) + len(todo) > limit:
                    raise TooMany
        return sorted(found, key=lambda change: change[0])

    def changes(self, old: str, new: str, *, limit: int, max_bytes: int) -> tuple[FileChange, ...]:
        """The same with contents; a file larger than `max_bytes` has none. Raises TooMany."""
        return tuple(
            FileChange(path, self._side(a, max_bytes), self._side(b, max_bytes))
            for path, a, b in self.changed(old, new, limit)
        )

    def _side(self, entry: Entry | None, max_bytes: int) -> Blob | None:
        if entry is None:
            return None
        if entry.mode & 0o170000 == SUBMODULE:  # a submodule: its commit is not here
            return Blob(entry.mode, entry.oid, 0, None)
        size = self.size(entry.oid)
        data = self.blob(entry.oid) if size <= max_bytes else None
        return Blob(entry.mode, entry.oid, size, data)

    # -- writing ---------------------------------------------------------------

    def write(self, entries: Entries) -> str:
        """Write a tree; the OID."""
        raw = b"".join(
            b"%o %s\0%s" % (entry.mode, name, bytes.fromhex(entry.oid))
            for name, entry in sorted(
                ((n.encode(errors="surrogateescape"), e) for n, e in entries.items()),
                key=lambda item: item[0] + b"/" if item[1].is_tree else item[0],
            )
        )
        return self._write(ObjectType.TREE, raw)

    def write_blob(self, data: bytes) -> str:
        """Write a file's content; the OID."""
        return self._write(ObjectType.BLOB, data)

    def _write(self, kind: ObjectType, data: bytes) -> str:
        if self._scratch is None:
            return str(self.repo.odb.write(kind, data))
        oid = object_id(kind, data)
        self._scratch[oid] = (int(kind), data)
        return oid

    def put(self, tree: str, path: str, entry: Entry | None) -> str:
        """`tree` with `entry` at `path` (None removes it); empty directories vanish."""
        name, _, rest = path.partition("/")
        entries = dict(self.entries(tree))
        if not rest:
            here = entry
        else:
            below = self.put(tree_oid(entries.get(name)), rest, entry)
            here = None if below == EMPTY else Entry(DIRECTORY, below)
        if here is None:
            entries.pop(name, None)
        else:
            entries[name] = here
        return self.write(entries) if entries else EMPTY


def object_id(kind: int, data: bytes) -> str:
    """The OID of an object."""
    header = b"%s %d\0" % (_KINDS[kind], len(data))
    return hashlib.sha1(header + data, usedforsecurity=False).hexdigest()


def referred(raw: Raw) -> list[str]:
    """The OIDs that an object names: of a commit its tree and parents, of a tree its entries."""
    kind, data = raw
    if kind == ObjectType.TREE:
        return [
            oid.hex()
            for mode, _, oid in _ENTRY.findall(data)
            if int(mode, 8) & 0o170000 != SUBMODULE
        ]
    if kind == ObjectType.COMMIT:
        head = data.split(b"\n\n", 1)[0]
        return [match.decode() for match in _REFERRED.findall(head)]
    return []


def tree_oid(entry: Entry | None) -> str:
    return entry.oid if entry is not None and entry.is_tree else EMPTY


def _leaf(entry: Entry | None) -> Entry | None:
    return None if entry is not None and entry.is_tree else entry
