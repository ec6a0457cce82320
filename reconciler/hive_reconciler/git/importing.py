"""Bringing a commit in from somebody not trusted: pack → jail → objects in memory → checks.

What is compressed is inflated in the jail, and by nobody else. Here deltas are applied, objects
hashed, followed and held to what git writes; hive.git sees nothing of them before the checks have
passed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import pygit2
from pygit2.enums import ObjectType

from .deltas import Resolver
from .errors import ReadFailed, Refused
from .jail import REFUSED, TAKEN
from .jailer import MAX_CONTENT, MAX_OBJECTS, Jail, Stream
from .listing import Entry
from .objects import Raw
from .pack import Packed, load
from .trees import EMPTY, Trees, referred, tree_oid
from .wellformed import check_commit, check_entry

MAX_PACK = 16 << 20  # bytes
MAX_BASES = 16 << 20  # bytes of objects of hive.git that deltas of one pack change
MAX_TREE = 4 << 20  # bytes: a swarm of 100,000 agents has less
MAX_NAMES = 100_000  # read in trees; what they share with those before is not read
MAX_COMMITS = 200
SECONDS = 60.0  # from the first byte to the last
_LINES = 100 * MAX_OBJECTS  # bytes that the jail's answer has beside contents
_OID = re.compile(r"[0-9a-f]{40}")
_NAMED = re.compile(r"[0-9a-f]{7,40}")

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
    jail: Jail, named: str, have: tuple[str, ...], fetch: Fetch
) -> tuple[str, list[Packed]]:
    """The OID that `named` abbreviates, and what the pack that `fetch` writes holds.
    Raises Refused, and what `fetch` raises."""
    if not _NAMED.fullmatch(named):
        raise Refused(f"{named[:60]!r} is no commit id: 7 to 40 of 0-9 and a-f")
    try:
        async with asyncio.timeout(SECONDS), jail.job("take") as stream:
            oid = await fetch(have, _writer(stream.writer))
            with contextlib.suppress(OSError):
                stream.writer.write_eof()
            entries = await _taken(stream)
    except TimeoutError:
        raise Refused(f"the commit did not arrive within {SECONDS:g} s") from None
    if not _OID.fullmatch(oid) or not oid.startswith(named):
        raise Refused(f"another commit came than {named}")
    return oid, entries


def collect(
    trees: Trees, repo: pygit2.Repository, brought: Sequence[Packed], oid: str, tip: str
) -> Imported:
    """What of `brought` the commit needs and hive.git lacks. In the git thread. Raises Refused."""
    try:
        objects = Resolver(_Bases(trees).get, MAX_CONTENT).resolve(brought)
        with trees.scratch(objects):
            reach = _Reach(trees, repo, objects)
            reach.follow(oid)
            starts = [pygit2.Oid(hex=known) for known in sorted(reach.known)]
            base = repo.merge_base_many([pygit2.Oid(hex=tip), *starts]) if starts else None
            if base is None:
                raise Refused(f"commit {oid[:12]} shares no history with applied")
            return Imported(oid, reach.tree_of(oid), str(base), reach.found)
    except (ReadFailed, KeyError, ValueError, pygit2.GitError) as error:
        raise Refused(f"commit {oid[:12]} cannot be taken: {error}") from None


class _Bases:
    """Objects of hive.git, for deltas on them."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self._room = MAX_BASES

    def get(self, oid: str) -> Raw | None:
        """Raises Refused, ReadFailed."""
        if not self._trees.has(oid):
            return None
        self._room -= self._trees.size(oid)
        if self._room < 0:
            raise Refused(f"it has deltas on more than {MAX_BASES >> 20} MiB of applied")
        return self._trees.raw(oid)


class _Reach:
    """Follows a commit to all that hive.git lacks. What is in hive.git is complete there, and so
    is what a tree shares with that of its commit's parent, which is followed, too."""

    def __init__(self, trees: Trees, repo: pygit2.Repository, objects: Mapping[str, Raw]) -> None:
        self._trees = trees
        self._repo = repo
        self._objects = objects
        self.found: dict[str, Raw] = {}
        self._names = 0
        self._followed: set[tuple[str, str]] = set()  # trees, each after the one before it
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
            check_commit(oid, self._take(oid, ObjectType.COMMIT))
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
            before, tree = pair = todo.pop()
            if tree in (EMPTY, before) or pair in self._followed or self._trees.has(tree):
                continue
            self._followed.add(pair)  # after another one it shares less with that
            if len(self._take(tree, ObjectType.TREE)) > MAX_TREE:
                raise Refused(f"tree {tree[:12]} has more than {MAX_TREE >> 20} MiB; split it up")
            old, new = self._trees.differing(before, tree)
            self._names += len(new)
            if self._names > MAX_NAMES:
                raise Refused(f"more than {MAX_NAMES} names are new in its trees; split it up")
            for name, entry in new.items():
                check_entry(tree, name, entry)
                if entry.is_tree:
                    todo.append((tree_oid(old.get(name)), entry.oid))
                elif entry != old.get(name) and not entry.is_submodule:
                    self._need_file(entry)

    def _need_file(self, entry: Entry) -> None:
        if entry.oid not in self.found and not self._trees.has(entry.oid):
            self._take(entry.oid, ObjectType.BLOB)

    def _take(self, oid: str, kind: ObjectType) -> bytes:
        raw = self._objects.get(oid)
        if raw is None or raw[0] != kind:
            raise ReadFailed(f"object {oid} is missing")
        self.found[oid] = raw
        return raw[1]

    def _kind(self, oid: str) -> int | None:
        if oid in self._objects:
            return self._objects[oid][0]
        return (
            int(self._repo.odb.read_header(pygit2.Oid(hex=oid))[0])
            if self._trees.has(oid)
            else None
        )


async def _taken(stream: Stream) -> list[Packed]:
    """What the jail answers; nothing of it is believed. Raises Refused."""
    parts, room = [], MAX_CONTENT + _LINES
    with contextlib.suppress(OSError):
        while room >= 0 and (part := await stream.reader.read(room + 1)):
            parts.append(part)
            room -= len(part)
    answer = b"".join(parts)
    if answer.startswith(REFUSED):
        said = re.sub(r"[^ -~]", "?", answer[1:].decode(errors="replace"))[:300]
        raise Refused(f"the commit cannot be taken: {said}")
    try:
        if room < 0 or not answer.startswith(TAKEN):
            raise ValueError("no answer of the jail")
        return load(answer[1:], MAX_OBJECTS)
    except ValueError:
        raise Refused(
            "the commit cannot be taken: it does not fit the limits of time and memory"
        ) from None


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
