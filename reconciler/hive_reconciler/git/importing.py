"""Bringing a commit in from somebody not trusted: pack → jail → values in memory → checks.

Nothing but `git index-pack` and `git cat-file` in the jail parses a pack. What comes back are
plain objects, hashed, counted and followed here; hive.git sees nothing of them before the checks
have passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from .errors import ReadFailed, Refused
from .jail import REFUSED, TAKEN
from .jailer import MAX_CONTENT, MAX_OBJECTS, Jail, Stream
from .listing import Entry
from .objects import Raw, object_id
from .trees import EMPTY, Trees, referred, tree_oid

MAX_PACK = 16 << 20  # bytes
MAX_COMMITS = 200
SECONDS = 60.0  # from the first byte to the last
_LIMITED = "it does not fit the limits of time and memory"
_OID = re.compile(r"[0-9a-f]{40}")
_NAMED = re.compile(r"[0-9a-f]{7,40}")
_TAKEN = re.compile(re.escape(TAKEN) + rb"([0-9]{1,9})\n")
_HEADER = re.compile(rb"[0-9a-f]{40} (commit|tree|blob|tag) ([0-9]{1,9})\n")
_KINDS = {b"commit": ObjectType.COMMIT, b"tree": ObjectType.TREE, b"blob": ObjectType.BLOB}

Write = Callable[[bytes], Awaitable[None]]
# Brings a commit: called with what hive.git has and a function that takes the bytes of a pack
# without that; returns the full OID. What it raises reaches the caller of `submit_commit`.
Fetch = Callable[[tuple[str, ...], Write], Awaitable[str]]


@dataclass(frozen=True)
class Imported:
    """A commit whose objects hive.git may lack."""

    commit: str
    tree: str
    base: str  # the merge base with `applied`
    objects: Mapping[str, Raw]  # all that is reachable from it and not in hive.git


async def receive(
    jail: Jail, folder: Path, named: str, have: tuple[str, ...], fetch: Fetch
) -> tuple[str, list[Raw]]:
    """The OID that `named` abbreviates, and the objects of the pack that `fetch` writes. Without
    root the pack lies in `folder` meanwhile. Raises Refused, and what `fetch` raises."""
    if not _NAMED.fullmatch(named):
        raise Refused(f"{named[:60]!r} is no commit id: 7 to 40 of 0-9 and a-f")
    try:
        async with (
            _quarantine(folder) as directory,
            asyncio.timeout(SECONDS),
            jail.job("take", directory) as stream,
        ):
            oid = await fetch(have, _writer(stream.writer))
            with contextlib.suppress(OSError):
                stream.writer.write_eof()
            objects = await _objects(stream)
    except TimeoutError:
        raise Refused(f"the commit did not arrive within {SECONDS:g} s") from None
    if not _OID.fullmatch(oid) or not oid.startswith(named):
        raise Refused(f"another commit came than {named}")
    return oid, objects


def collect(
    trees: Trees, repo: pygit2.Repository, brought: Sequence[Raw], oid: str, tip: str
) -> Imported:
    """What of `brought` the commit needs and hive.git lacks. In the git thread. Raises Refused."""
    objects = {object_id(kind, data): (kind, data) for kind, data in brought}
    with trees.scratch(objects):
        reach = _Reach(trees, repo, objects)
        try:
            reach.follow(oid)
            starts = [pygit2.Oid(hex=known) for known in sorted(reach.known)]
            base = repo.merge_base_many([pygit2.Oid(hex=tip), *starts]) if starts else None
        except (ReadFailed, KeyError, ValueError, pygit2.GitError) as error:
            raise Refused(f"commit {oid[:12]} is not complete: {error}") from None
        if base is None:
            raise Refused(f"commit {oid[:12]} shares no history with applied")
        return Imported(oid, reach.tree_of(oid), str(base), reach.found)


class _Reach:
    """Follows a commit to all that hive.git lacks. What is in hive.git is complete there, and so
    is what a tree shares with that of its commit's parent, which is followed, too."""

    def __init__(self, trees: Trees, repo: pygit2.Repository, objects: Mapping[str, Raw]) -> None:
        self._trees = trees
        self._repo = repo
        self._objects = objects
        self.found: dict[str, Raw] = {}
        self.known: set[str] = set()  # commits of hive.git where the new ones begin

    def follow(self, oid: str) -> None:
        """Raises Refused, ReadFailed."""
        if self._kind(oid) != ObjectType.COMMIT:
            raise Refused(f"there is no commit {oid[:12]} in what was sent")
        commits, todo = 0, [oid]
        while todo:
            oid = todo.pop()
            if oid in self.found or oid in self.known:
                continue
            if self._trees.has(oid):
                self.known.add(oid)
                continue
            commits += 1
            if commits > MAX_COMMITS:
                raise Refused(f"more than {MAX_COMMITS} commits are not in applied; squash them")
            self._take(oid, ObjectType.COMMIT)
            parents = self._parents(oid)
            before = self.tree_of(parents[0]) if parents else EMPTY
            self._follow_tree(before, self.tree_of(oid))
            todo += parents

    def tree_of(self, commit: str) -> str:
        """Raises ReadFailed."""
        return self._referred(commit)[0]

    def _parents(self, commit: str) -> list[str]:
        return self._referred(commit)[1:]

    def _referred(self, commit: str) -> list[str]:
        kind, data = self._trees.raw(commit)
        names = referred((kind, data))
        if kind != ObjectType.COMMIT or not names:
            raise ReadFailed(f"{commit} is no commit")
        return names

    def _follow_tree(self, before: str, tree: str) -> None:
        todo = [(before, tree)]
        while todo:
            before, tree = todo.pop()
            if tree == EMPTY or tree in self.found or self._trees.has(tree):
                continue
            self._take(tree, ObjectType.TREE)
            old, new = self._trees.differing(before, tree)
            for name, entry in new.items():
                if entry.is_tree:
                    todo.append((tree_oid(old.get(name)), entry.oid))
                elif entry != old.get(name) and not entry.is_submodule:
                    self._need_file(entry)

    def _need_file(self, entry: Entry) -> None:
        if entry.oid not in self.found and not self._trees.has(entry.oid):
            self._take(entry.oid, ObjectType.BLOB)

    def _take(self, oid: str, kind: ObjectType) -> None:
        raw = self._objects.get(oid)
        if raw is None or raw[0] != kind:
            raise ReadFailed(f"object {oid} is missing")
        self.found[oid] = raw

    def _kind(self, oid: str) -> int | None:
        if oid in self._objects:
            return self._objects[oid][0]
        return (
            int(self._repo.odb.read_header(pygit2.Oid(hex=oid))[0])
            if self._trees.has(oid)
            else None
        )


@contextlib.asynccontextmanager
async def _quarantine(folder: Path) -> AsyncIterator[Path | None]:
    """A directory for one pack; root's jail has a tmpfs of its own instead."""
    if os.geteuid() == 0:
        yield None
        return
    path = await asyncio.to_thread(_make_quarantine, folder)
    try:
        yield path
    finally:
        await asyncio.to_thread(shutil.rmtree, path, True)


def _make_quarantine(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder, prefix="pack-"))


async def _objects(stream: Stream) -> list[Raw]:
    """What the jail sends, tags left out. Raises Refused."""
    found: list[Raw] = []
    room = MAX_CONTENT
    try:
        for _ in range(await _count(stream)):
            header = _HEADER.fullmatch(await stream.reader.readline())
            if header is None:
                raise Refused(f"the commit cannot be taken: {_LIMITED}")
            size = int(header[2])
            room -= size
            if room < 0:
                most = f"{MAX_CONTENT >> 20} MiB are the most"
                raise Refused(f"the commit cannot be taken: it brings too much: {most}")
            data = await stream.reader.readexactly(size + 1)
            if (kind := _KINDS.get(header[1])) is not None:
                found.append((int(kind), data[:-1]))
    except (asyncio.IncompleteReadError, OSError, ValueError):
        raise Refused(f"the commit cannot be taken: {_LIMITED}") from None
    return found


async def _count(stream: Stream) -> int:
    """Of the objects that follow. Raises Refused, ValueError when it is no answer."""
    answer = await stream.reader.readline()
    if answer.startswith(REFUSED):
        said = re.sub(r"[^ -~]", "?", answer[1:-1].decode(errors="replace"))[:300]
        raise Refused(f"the commit cannot be taken: {said}")
    found = _TAKEN.fullmatch(answer)
    if found is None or int(found[1]) > MAX_OBJECTS:
        raise ValueError("no answer of the jail")
    return int(found[1])


def _writer(stdin: asyncio.StreamWriter) -> Write:
    """Refuses more than MAX_PACK; what is wrong with a pack is told by the jail's last frame."""
    written = 0

    async def write(data: bytes) -> None:
        nonlocal written
        written += len(data)
        if written > MAX_PACK:
            raise Refused(f"the commit brings more than {MAX_PACK >> 20} MiB; make it smaller")
        with contextlib.suppress(OSError):
            stdin.write(data)
            await stdin.drain()

    return write
