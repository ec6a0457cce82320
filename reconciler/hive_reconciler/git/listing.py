"""One git tree as bytes and as values. Large ones that share most of it are compared and edited
by the bytes that differ: what is not touched costs next to nothing, in a swarm of any size."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import NamedTuple

from ..model.layered import Layered
from ..model.tree import DIRECTORY, SUBMODULE

# What is no entry is taken to the end: looked for from each byte on, it would take hours.
_ENTRY = re.compile(rb"([1-7][0-7]{4,5}) ([^\0/]+)\0(.{20})|.+", re.DOTALL)
_WHOLE = re.compile(rb"[1-7][0-7]{4,5} [^\0/]+\0.{20}|.+", re.DOTALL)
_NO_ENTRY = "it has bytes that are no entry"
_SMALL = 2048  # bytes: such a tree is parsed as fast as it is compared
_STEP = 16 << 10  # bytes compared at once: copies of that size stay in the processor's cache


class BadTree(ValueError):
    """The bytes are no tree."""


class Entry(NamedTuple):
    """One line of a tree. A tuple: thousands of them are compared at every step."""

    mode: int
    oid: str

    @property
    def is_tree(self) -> bool:
        return self.mode == DIRECTORY

    @property
    def is_submodule(self) -> bool:
        """Its commit is in another repository."""
        return self.mode & 0o170000 == SUBMODULE


Entries = Mapping[str, Entry]


class Listing:
    """A tree. Immutable; `entries` is made at the first need."""

    __slots__ = ("_entries", "_starts", "raw")

    def __init__(self, raw: bytes, entries: Entries | None = None) -> None:
        self.raw = raw
        self._entries = entries
        self._starts: list[int] | None = None

    @classmethod
    def of(cls, entries: Entries) -> Listing:
        lines = sorted((_key(name, entry), _line(name, entry)) for name, entry in entries.items())
        return cls(b"".join(line for _, line in lines), dict(entries))

    @property
    def entries(self) -> Entries:
        """By name. Raises BadTree."""
        if self._entries is None:
            self._entries = _parse(self.raw)
        return self._entries

    def differing(self, new: Listing) -> tuple[Entries, Entries]:
        """Entries of both, without a beginning and an end that they share: all that differ are
        among them, and one on either side, so that their order is checked as well. Afterwards
        `new.entries` costs little. Raises BadTree."""
        if min(len(self.raw), len(new.raw)) < _SMALL:
            return self.entries, new.entries
        length, other = len(self.raw), len(new.raw)
        starts = self._boundaries()
        first = max(bisect_right(starts, _shared(self.raw, new.raw)) - 2, 0)
        start = starts[first]
        shared_end = _shared_end(self.raw, new.raw, min(length, other) - start)
        last = min(bisect_left(starts, length - shared_end) + 1, len(starts) - 1)
        end = starts[last]
        middle = new.raw[start : other - (length - end)]
        try:
            before = _parse(self.raw[start:end])
            after = _parse(middle)
        except BadTree:  # the ends look alike and are not
            return self.entries, new.entries
        if new._entries is None:
            entries = self._layered()
            made = entries.changed(after, before.keys() - after.keys())
            if len(made) != len(entries) - len(before) + len(after):
                raise BadTree("it lists a name twice")
            new._entries = made
        if new._starts is None:
            inside = accumulate(map(len, _WHOLE.findall(middle)), initial=start)
            tail = _shifted(starts[last + 1 :], other - length)
            new._starts = [*starts[:first], *inside, *tail]
        return before, after

    def patched(self, changes: Mapping[str, Entry | None]) -> Listing:
        """With entries set, or removed where the value is None. Raises BadTree."""
        entries, starts = self._layered(), self._boundaries()
        # In front of which entry, sort key, up to which entry, what stands there then.
        edits: list[tuple[int, bytes, int, bytes]] = []
        for name, entry in changes.items():
            was = entries.get(name)
            if was is not None:
                key = _key(name, was)
                number = self._find(key)
                edits.append((number, key, number + 1, b""))
            if entry is not None:
                key = _key(name, entry)
                number = self._find(key)
                edits.append((number, key, number, _line(name, entry)))
        parts, marks, position, shift = [], [], 0, 0
        for first, _, last, text in sorted(edits):
            parts += [self.raw[starts[position] : starts[first]], text]
            marks += _shifted(starts[position:first], shift)
            if text:
                marks.append(starts[first] + shift)
            shift += len(text) - (starts[last] - starts[first])
            position = last
        marks += _shifted(starts[position:], shift)
        news = {name: entry for name, entry in changes.items() if entry is not None}
        made = entries.changed(news, changes.keys() - news.keys())
        found = Listing(b"".join([*parts, self.raw[starts[position] :]]), made)
        found._starts = marks
        return found

    def _layered(self) -> Layered[str, Entry]:
        """The entries, so that those of a tree like it cost little. Raises BadTree."""
        made = Layered.of(self.entries)
        self._entries = made
        return made

    def _boundaries(self) -> list[int]:
        """Where entries start, and the end of the last. Raises BadTree."""
        if self._starts is None:
            lines = _WHOLE.findall(self.raw)
            _check_last(lines)
            self._starts = [0, *accumulate(map(len, lines))]
        return self._starts

    def _find(self, key: bytes) -> int:
        """The number of the first entry that does not sort before `key`."""
        starts = self._boundaries()
        return bisect_left(range(len(starts) - 1), key, key=lambda n: self._key_at(starts[n]))

    def _key_at(self, start: int) -> bytes:
        space, end = self.raw.index(b" ", start), self.raw.index(b"\0", start)
        name = self.raw[space + 1 : end]
        return name + b"/" if int(self.raw[start:space], 8) == DIRECTORY else name


def _shifted(starts: list[int], by: int) -> list[int]:
    return [start + by for start in starts] if by else starts


def _check_last(lines: list[bytes]) -> None:
    """Of what `_WHOLE` found. Raises BadTree."""
    last = _ENTRY.fullmatch(lines[-1]) if lines else None
    if last is not None and last[1] is None:
        raise BadTree(_NO_ENTRY)


def _parse(raw: bytes) -> dict[str, Entry]:
    found = _ENTRY.findall(raw)
    if found and not found[-1][0]:
        raise BadTree(_NO_ENTRY)
    keys = [name + b"/" if mode == b"40000" else name for mode, name, _ in found]
    if keys != sorted(keys):
        raise BadTree("its entries are not in git's order")
    entries = {
        name.decode(errors="surrogateescape"): Entry(int(mode, 8), oid.hex())
        for mode, name, oid in found
    }
    if len(entries) != len(found):
        raise BadTree("it lists a name twice")
    return entries


def _key(name: str, entry: Entry) -> bytes:
    """What git sorts entries by."""
    data = name.encode(errors="surrogateescape")
    return data + b"/" if entry.is_tree else data


def _line(name: str, entry: Entry) -> bytes:
    data = name.encode(errors="surrogateescape")
    return b"%o %s\0%s" % (entry.mode, data, bytes.fromhex(entry.oid))


def _shared(one: bytes, other: bytes) -> int:
    """The length of the beginning that both have. Slices compare faster than any loop."""
    most = min(len(one), len(other))
    for low in range(0, most, _STEP):
        high = min(low + _STEP, most)
        if one[low:high] != other[low:high]:
            return low + bisect_left(
                range(low + 1, high), True, key=lambda n: one[low:n] != other[low:n]
            )
    return most


def _shared_end(one: bytes, other: bytes, most: int) -> int:
    """The length of the end that both have, `most` bytes at the most."""
    a, b = len(one), len(other)
    for low in range(0, most, _STEP):
        high = min(low + _STEP, most)
        if one[a - high : a - low] != other[b - high : b - low]:
            return low + bisect_left(
                range(low + 1, high),
                True,
                key=lambda n: one[a - n : a - low] != other[b - n : b - low],
            )
    return most
