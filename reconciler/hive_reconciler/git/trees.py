"""Trees as plain values: reading, editing and comparing them by OID.

Only subtrees whose OIDs differ are ever opened, so a change of one agent costs the same in
a swarm of ten thousand; and every walk is bounded, so a hostile tree cannot expand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager

import pygit2
from pygit2.enums import ObjectType

from ..model.tree import DIRECTORY, Blob, FileChange
from .errors import ReadFailed
from .listing import BadTree, Entries, Entry, Listing
from .objects import Raw, object_id

_REFERRED = re.compile(rb"^(?:tree|parent) ([0-9a-f]{40})$", re.MULTILINE)
_CACHED = 8 << 20  # bytes of trees
_PATH = 1000  # bytes: no path that the checks let through is as long
_COMPARED = 20  # pairs of them: the same few at every step of a proposal
EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


class TooMany(Exception):
    """A comparison would go over more paths than allowed, or over endless ones."""


class Trees:
    """The trees and blobs of one repository. Used in the git thread only."""

    def __init__(self, repo: pygit2.Repository) -> None:
        self.repo = repo
        self._cache: dict[str, Listing] = {}
        self._cached = 0  # bytes
        self._compared: dict[tuple[str, str], tuple[Entries, Entries]] = {}
        self._scratch: dict[str, Raw] | None = None

    # -- scratch -----------------------------------------------------------------

    @contextmanager
    def scratch(self, objects: Mapping[str, Raw] | None = None) -> Iterator[None]:
        """Objects written inside stay in memory, beside `objects`; `unwritten` gives them out."""
        assert self._scratch is None, "scratches do not nest"
        self._scratch = dict(objects or {})
        try:
            yield
        finally:
            self._scratch = None

    def unwritten(self, *oids: str) -> list[tuple[str, Raw]]:
        """Scratch objects that the repository lacks, with those they name before them, for
        `Store.land`."""
        scratch: Mapping[str, Raw] = self._scratch or {}
        seen: set[str] = set()
        done: set[str] = set()
        found: list[tuple[str, Raw]] = []
        todo = [(oid, False) for oid in oids]
        while todo:
            oid, below_done = todo.pop()
            if oid not in scratch or oid in done:
                continue
            if below_done:  # what an object names is there before it: presence means complete
                done.add(oid)
                if not self.has(oid):
                    found.append((oid, scratch[oid]))
            else:
                seen.add(oid)
                todo.append((oid, True))
                todo += ((below, False) for below in _named(scratch[oid], scratch.keys() - seen))
        return found

    # -- reading ---------------------------------------------------------------

    def entries(self, tree: str) -> Entries:
        """What a tree lists, by name. Raises ReadFailed."""
        try:
            return self._listing(tree).entries
        except BadTree as error:
            raise ReadFailed(f"tree {tree} cannot be read: {error}") from None

    def differing(self, old: str, new: str) -> tuple[Entries, Entries]:
        """Of both trees the entries among which are all that differ; cheap for large trees that
        share most, and so is reading `new` afterwards. Raises ReadFailed."""
        known = self._compared.get((old, new))
        if known is not None:
            return known
        try:
            found = self._listing(old).differing(self._listing(new))
        except BadTree as error:
            raise ReadFailed(f"tree {old} or {new} cannot be read: {error}") from None
        while len(self._compared) >= _COMPARED:
            self._compared.pop(next(iter(self._compared)))
        self._compared[old, new] = found
        return found

    def _listing(self, tree: str) -> Listing:
        if tree == EMPTY:
            return Listing(b"")
        known = self._cache.get(tree)
        if known is None:
            kind, raw = self.raw(tree)
            if kind != ObjectType.TREE:
                raise ReadFailed(f"{tree} is no tree")
            known = Listing(raw)
            self._keep(tree, known)
        return known

    def _keep(self, tree: str, listing: Listing) -> None:
        self._cached += len(listing.raw)
        while self._cached > _CACHED and self._cache:
            self._cached -= len(self._cache.pop(next(iter(self._cache))).raw)
        self._cache[tree] = listing

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
        kind, data = self.raw(oid)
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

    def has(self, oid: str) -> bool:
        """Whether it is in the repository. Not looked into: a large tree is read slowly."""
        return pygit2.Oid(hex=oid) in self.repo.odb

    def raw(self, oid: str) -> Raw:
        """An object's type and content. Raises ReadFailed."""
        if self._scratch is not None and oid in self._scratch:
            return self._scratch[oid]
        if oid in self._cache:
            return int(ObjectType.TREE), self._cache[oid].raw
        try:
            kind, data = self.repo.odb.read(pygit2.Oid(hex=oid))
        except (KeyError, ValueError, OSError, pygit2.GitError) as error:
            raise ReadFailed(f"object {oid} cannot be read: {error}") from None
        return int(kind), data

    # -- comparing -------------------------------------------------------------

    def changed(
        self, old: str, new: str, limit: int
    ) -> list[tuple[str, Entry | None, Entry | None]]:
        """Paths that differ, sorted. Raises TooMany above `limit` paths or directories, or as many
        bytes of paths as those have at the most."""
        found: list[tuple[str, Entry | None, Entry | None]] = []
        todo = [("", old, new)]
        opened, room = 0, limit * _PATH
        while todo:
            prefix, left, right = todo.pop()
            opened += 1
            if opened > limit:
                raise TooMany
            before, after = self.differing(left, right)
            for name in {name for name, _ in before.items() ^ after.items()}:
                a, b = before.get(name), after.get(name)
                path = prefix + name
                room -= len(path)
                if room < 0:
                    raise TooMany
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
        once: dict[str, bytes | None] = {}  # what is in many files is there once
        return tuple(
            FileChange(path, self._side(a, max_bytes, once), self._side(b, max_bytes, once))
            for path, a, b in self.changed(old, new, limit)
        )

    def _side(
        self, entry: Entry | None, max_bytes: int, once: dict[str, bytes | None]
    ) -> Blob | None:
        if entry is None:
            return None
        if entry.is_submodule:  # its commit is not here
            return Blob(entry.mode, entry.oid, 0, None)
        size = self.size(entry.oid)
        if entry.oid not in once:
            once[entry.oid] = self.blob(entry.oid) if size <= max_bytes else None
        return Blob(entry.mode, entry.oid, size, once[entry.oid])

    # -- writing ---------------------------------------------------------------

    def write(self, entries: Entries) -> str:
        """Write a tree; the OID."""
        return self._write_listing(Listing.of(entries))

    def patch(self, tree: str, changes: Mapping[str, Entry | None]) -> str:
        """Write a tree with entries set, or removed where the value is None; the OID."""
        try:
            return self._write_listing(self._listing(tree).patched(changes))
        except BadTree as error:
            raise ReadFailed(f"tree {tree} cannot be read: {error}") from None

    def _write_listing(self, listing: Listing) -> str:
        if not listing.raw:
            return EMPTY
        oid = self._write(ObjectType.TREE, listing.raw)
        if oid not in self._cache:
            self._keep(oid, listing)
        return oid

    def write_blob(self, data: bytes) -> str:
        """Write a file's content; the OID."""
        return self._write(ObjectType.BLOB, data)

    def write_commit(self, data: bytes) -> str:
        """Write a commit, no ref; the OID."""
        return self._write(ObjectType.COMMIT, data)

    def write_tag(self, data: bytes) -> str:
        """Write a tag object, no ref; the OID."""
        return self._write(ObjectType.TAG, data)

    def put(self, tree: str, path: str, entry: Entry | None) -> str:
        """`tree` with `entry` at `path` (None removes it); empty directories vanish."""
        name, _, rest = path.partition("/")
        if not rest:
            return self.patch(tree, {name: entry})
        below = self.put(tree_oid(self.entries(tree).get(name)), rest, entry)
        return self.patch(tree, {name: None if below == EMPTY else Entry(DIRECTORY, below)})

    def _write(self, kind: ObjectType, data: bytes) -> str:
        if self._scratch is not None:
            oid = object_id(kind, data)
            self._scratch[oid] = (int(kind), data)
            return oid
        return str(self.repo.odb.write(kind, data))


def referred(raw: Raw) -> list[str]:
    """The OIDs that an object names: of a commit its tree and parents, of a tree its entries, of
    a tag its object."""
    kind, data = raw
    if kind == ObjectType.TREE:
        return [entry.oid for entry in Listing(data).entries.values() if not entry.is_submodule]
    if kind == ObjectType.TAG:  # one of ours: no others come here
        return [data[len(b"object ") :][:40].decode()]
    if kind == ObjectType.COMMIT:
        head = data.split(b"\n\n", 1)[0]
        return [match.decode() for match in _REFERRED.findall(head)]
    return []


def _named(raw: Raw, among: Set[str]) -> list[str]:
    """Which of these objects `raw` names. In a large tree they are searched for: that is faster
    than to read all its lines."""
    kind, data = raw
    if kind == ObjectType.TREE and len(data) > 500 * len(among):
        return [oid for oid in among if bytes.fromhex(oid) in data]
    return [oid for oid in referred(raw) if oid in among]


def tree_oid(entry: Entry | None) -> str:
    return entry.oid if entry is not None and entry.is_tree else EMPTY


def _leaf(entry: Entry | None) -> Entry | None:
    return None if entry is not None and entry.is_tree else entry
