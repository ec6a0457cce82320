"""Objects, and the refs that make them count, put on disk in one go. git and libgit2 wait for the
disk after each file and folder, one by one; here all wait together: for the contents, for the
names, and for each ref."""

from __future__ import annotations

import os
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from .errors import Conflict
from .objects import Raw, header

T = TypeVar("T")
_AT_ONCE = 4  # the disk takes them together
_threads = ThreadPoolExecutor(_AT_ONCE, "durable")  # they start at the first need, and stay
_BLOCK = 4096  # bytes of a disk: less than that takes as much
_CHUNK = 0xFFFF  # bytes, the most that deflate has in one piece as they are
_TRIES = 50
_PATIENCE = 1.0  # seconds for another program, such as `git pack-refs`, to unlock a ref
ANY = "any"


@dataclass(frozen=True)
class RefChange:
    """Set the ref `name` to `oid`, if it is `was`: an OID, None (there is none), or ANY."""

    name: str
    oid: str
    was: str | None


@dataclass
class _Fresh:
    """A file that is written, and where it is to be. Plain paths: this is done often."""

    descriptor: int
    path: str
    folder: str
    place: str
    placed: bool = False


def write(
    repository: str,
    objects: Sequence[tuple[str, Raw]],
    changes: Sequence[RefChange],
    current: Callable[[str], str | None],
) -> None:
    """Put objects, by OID, into a repository as loose objects, then change refs, all in
    the order given: nothing is there before what stands in front of it. On return all of it is
    on disk. `current` reads a ref.

    Raises Conflict when a ref is not what it should be, FileExistsError when it stays locked,
    OSError; then no ref was changed, unless the disk failed at the very last.
    """
    refs: list[_Fresh] = []
    fresh: list[_Fresh] = []
    try:
        for change in changes:
            refs.append(_lock(os.path.join(repository, change.name)))
            _fill(refs[-1], [f"{change.oid}\n".encode()], 0o644)
        for change in changes:
            _check(change, current(change.name))
        for oid, (kind, data) in objects:
            fresh.append(_object(os.path.join(repository, "objects"), oid))
            _fill(fresh[-1], _zlib(header(kind, data), data), 0o444)
        _each(os.fsync, [file.descriptor for file in (*refs, *fresh)])
        _place(fresh)
        for ref in refs:  # one by one: a disk may keep the last move and lose the first
            _place([ref])
    finally:
        for file in (*refs, *fresh):
            os.close(file.descriptor)
            if not file.placed:  # a lock that is placed is no more, and may be another's by now
                with suppress(FileNotFoundError):
                    os.unlink(file.path)


def sync_tree(folder: Path) -> None:
    """Wait until all in a folder is on disk, and its own name in the folder above."""
    for where, _, files in os.walk(folder, topdown=False):
        _each(_sync_file, [os.path.join(where, name) for name in files])
        sync_folder(where)
    sync_folder(os.path.dirname(folder))


def move(fresh: Path, place: Path) -> None:
    """Give a finished folder its name; on return that is on disk, too."""
    sync_tree(fresh)
    os.rename(fresh, place)
    sync_folder(os.path.dirname(place))


def _check(change: RefChange, found: str | None) -> None:
    if change.was in (ANY, found):
        return
    if change.was is None:
        raise Conflict(f"{change.name} exists already")
    raise Conflict(f"{change.name} moved to {found}; look again")


def _lock(place: str) -> _Fresh:
    """The lock file of a ref, as git makes it; it becomes the ref."""
    path, folder = f"{place}.lock", os.path.dirname(place)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return _Fresh(_create(path), path, folder, place)
        except FileNotFoundError:
            make_folder(folder)  # git removes one that is empty
        except FileExistsError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def make_folder(path: str) -> None:
    """Also those above it; each is on disk in the one above."""
    above = os.path.dirname(path)
    if not os.path.isdir(above):
        make_folder(above)
    with suppress(FileExistsError):
        os.mkdir(path)
    sync_folder(above)


def _object(store: str, oid: str) -> _Fresh:
    path = f"{store}/tmp_obj_{secrets.token_hex(8)}"  # housekeeping removes old ones of that name
    folder = f"{store}/{oid[:2]}"
    return _Fresh(_create(path), path, folder, f"{folder}/{oid[2:]}")


def _zlib(head: bytes, data: bytes) -> list[bytes | memoryview]:
    """What git reads as `head` and `data`, in pieces. Only long files get smaller: trees are
    mostly hashes, and to set up a compression takes longer than to write what is short."""
    if len(data) > _BLOCK and head.startswith(b"blob "):
        return [zlib.compress(head + data, 1)]
    parts: list[bytes | memoryview] = [b"\x78\x01", _stored(head, last=not data), head]
    view = memoryview(data)
    for start in range(0, len(data), _CHUNK):
        part = view[start : start + _CHUNK]
        parts += [_stored(part, last=start + _CHUNK >= len(data)), part]
    return [*parts, struct.pack(">I", zlib.adler32(data, zlib.adler32(head)))]


def _stored(part: bytes | memoryview, *, last: bool) -> bytes:
    """What stands in front of bytes that deflate has as they are."""
    return struct.pack("<BHH", last, len(part), len(part) ^ 0xFFFF)


def _create(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _fill(file: _Fresh, parts: Sequence[bytes | memoryview], mode: int) -> None:
    os.fchmod(file.descriptor, mode)
    with open(file.descriptor, "wb", closefd=False) as out:
        out.writelines(parts)


def _place(files: Sequence[_Fresh]) -> None:
    """Move each to its place, and wait until that is on disk."""
    folders: set[str] = set()
    for file in files:
        if _rename(file):
            folders.add(os.path.dirname(file.folder))
        folders.add(file.folder)
    _each(sync_folder, list(folders))


def _rename(file: _Fresh) -> bool:
    """Whether its folder had to be made: git removes one that is empty at any moment."""
    made = False
    for more in reversed(range(_TRIES)):
        try:
            os.rename(file.path, file.place)
            file.placed = True
            break
        except FileNotFoundError:
            if not more:
                raise
            with suppress(FileExistsError):
                os.mkdir(file.folder)
                made = True
    return made


def _each(action: Callable[[T], None], items: Sequence[T]) -> None:
    """All at once, a share of them here; on return none runs any more. Raises what one raises."""
    shares = [items[n::_AT_ONCE] for n in range(min(_AT_ONCE, len(items)))]
    running = [_threads.submit(_all, action, share) for share in shares[1:]]
    try:
        _all(action, shares[0] if shares else ())
    finally:
        wait(running)
    for one in running:
        one.result()


def _all(action: Callable[[T], None], items: Iterable[T]) -> None:
    for item in items:
        action(item)


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: str) -> None:
    """Wait until the names in it are on disk, and which are there no more."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return  # git has packed what was in it, and waited for the disk
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
