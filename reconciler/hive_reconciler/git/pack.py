"""A pack as git writes it, taken apart: what each of its entries holds, inflated and no more.

This runs in the jail on whatever a requester sends, so: the standard library only, in which zlib
is all that is not Python; every size is known and allowed before it is made. `dump` and `load`
are the way from there to the reconciler, which trusts the one end as little as the other.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

OFS_DELTA, REF_DELTA = 6, 7
_KINDS = frozenset({1, 2, 3, 4, OFS_DELTA, REF_DELTA})
_HEAD = b"PACK\0\0\0\2"
_CHECKSUM = 20  # bytes
_MARGIN = 64  # bytes by which what is deflated may be longer than what it holds
_DIGITS = 9  # of seven bits; larger numbers than that are no size
_LINE = re.compile(rb"([0-9]{1,9}) ([1-467]) ([0-9a-f]{40}|[0-9]{1,9}|-) ([0-9]{1,9})\n")


class BadPack(ValueError):
    """Its text says why, in words for whoever sent it."""


class Packed(NamedTuple):
    """One entry. A delta has the base that it changes: an OID, or where that entry starts."""

    start: int
    kind: int
    base: str | int | None
    data: bytes


def unpack(pack: bytes, most: int, room: int) -> list[Packed]:
    """The entries of a pack, at most so many, with at most so many bytes. Raises BadPack."""
    body, checksum = memoryview(pack)[:-_CHECKSUM], pack[-_CHECKSUM:]
    if not pack.startswith(_HEAD) or len(body) < len(_HEAD) + 4:
        raise BadPack("what came is no pack of git, version 2")
    if hashlib.sha1(body, usedforsecurity=False).digest() != checksum:
        raise BadPack("what came is not what was sent: its checksum is another")
    (count,) = struct.unpack_from(">I", body, len(_HEAD))
    if count > most:
        raise BadPack(f"it brings too much: {most} objects are the most")
    reader = _Reader(body, len(_HEAD) + 4, room)
    starts: set[int] = set()
    found = []
    for _ in range(count):
        entry = reader.entry()
        if isinstance(entry.base, int) and entry.base not in starts:
            raise BadPack("it has a delta whose base is no object of it")
        starts.add(entry.start)
        found.append(entry)
    if reader.position != len(body):
        raise BadPack("it goes on after its last object")
    return found


class _Reader:
    def __init__(self, body: memoryview, position: int, room: int) -> None:
        self.position = position
        self._body = body
        self._most = self._room = room

    def entry(self) -> Packed:
        start = self.position
        byte = self._byte()
        kind, size, shift = byte >> 4 & 7, byte & 15, 4
        while byte & 0x80:
            if self.position - start > _DIGITS:
                raise BadPack("it has an object without a size")
            byte = self._byte()
            size |= (byte & 0x7F) << shift
            shift += 7
        if kind not in _KINDS:
            raise BadPack("it has an object of no kind that git knows")
        base = self._base(kind, start)
        self._room -= size
        if self._room < 0:
            raise BadPack(f"it brings too much: {self._most >> 20} MiB are the most")
        return Packed(start, kind, base, self._inflated(size))

    def _base(self, kind: int, start: int) -> str | int | None:
        if kind == REF_DELTA:
            return bytes(self._byte() for _ in range(20)).hex()
        if kind != OFS_DELTA:
            return None
        first = self.position
        byte = self._byte()
        back = byte & 0x7F
        while byte & 0x80:
            if self.position - first > _DIGITS:
                raise BadPack("it has a delta whose base is no object of it")
            byte = self._byte()
            back = (back + 1) << 7 | byte & 0x7F
        return max(start - back, 0)

    def _byte(self) -> int:
        if self.position >= len(self._body):
            raise BadPack("it ends within an object")
        self.position += 1
        return self._body[self.position - 1]

    def _inflated(self, size: int) -> bytes:
        """`size` bytes: a stream that holds more is left at the first byte too many."""
        inflater = zlib.decompressobj()
        parts, missing = [], size
        while not inflater.eof:
            chunk = self._body[self.position : self.position + size + _MARGIN]
            if not chunk:
                raise BadPack("it ends within an object")
            try:
                part = inflater.decompress(chunk, missing + 1)  # 0 were no limit
            except zlib.error:
                raise BadPack("it has an object that cannot be inflated") from None
            missing -= len(part)
            if missing < 0:
                raise BadPack("it has an object that is longer than it says")
            parts.append(part)
            self.position += len(chunk) - len(inflater.unused_data)
        if missing:
            raise BadPack("it has an object that is shorter than it says")
        return b"".join(parts)


def dump(entries: Sequence[Packed]) -> list[bytes]:
    """What `load` reads, in pieces."""
    lines = (
        f"{entry.start} {entry.kind} {'-' if entry.base is None else entry.base} "
        f"{len(entry.data)}\n"
        for entry in entries
    )
    head = f"{len(entries)}\n{''.join(lines)}".encode()
    return [head, *(entry.data for entry in entries)]


def load(dumped: bytes, most: int) -> list[Packed]:
    """At most so many entries. Raises ValueError when that is not what `dump` makes."""
    digits, _, _ = dumped[:10].partition(b"\n")
    count, position = int(digits), len(digits) + 1
    if not 0 <= count <= most:
        raise ValueError("too many entries")
    heads = []
    for _ in range(count):
        line = _LINE.match(dumped, position)
        if line is None:
            raise ValueError("a line that is none")
        position = line.end()
        heads.append(line)
    found = []
    for line in heads:
        size = int(line[4])
        base = None if line[3] == b"-" else line[3].decode()
        known = int(base) if base is not None and len(base) < 40 else base
        found.append(Packed(int(line[1]), int(line[2]), known, dumped[position : position + size]))
        position += size
    if position != len(dumped):
        raise ValueError("other lengths than told")
    return found
