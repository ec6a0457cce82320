"""Refs that end in a number, as proposals have them: read once, and again where files changed.

The queue is asked for at every step, and a hive that is used for a year has thousands of them.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from .errors import ReadFailed

_OID = re.compile(rb"[0-9a-f]{40}\n?")
_PACKED = re.compile(r"\n([0-9a-f]{40}) (refs/(?:tags|status)/[^ \n]+)/([1-9][0-9]*)(?=\n)")
# A file system stamps changes by a clock that ticks; what is as young as this may change again
# and look the same.
_YOUNG = 50_000_000  # nanoseconds

Stamp = tuple[int, ...]


class PackedRefs:
    """The file packed-refs of a repository: {folder: {number: OID}}."""

    def __init__(self, repository: Path) -> None:
        self._path = repository / "packed-refs"
        self._stamp: Stamp | None = None
        self._found: dict[str, dict[int, str]] = {}

    def of(self, folder: str) -> Mapping[int, str]:
        """Raises OSError."""
        stamp = _stamp(self._path)
        if stamp is None or stamp != self._stamp:
            self._found = {} if stamp is None else self._read()
            self._stamp = _settled(stamp)
        return self._found.get(folder, {})

    def _read(self) -> dict[str, dict[int, str]]:
        found: dict[str, dict[int, str]] = {}
        text = self._path.read_bytes().decode(errors="surrogateescape")
        for oid, folder, number in _PACKED.findall(f"\n{text}"):
            found.setdefault(folder, {})[int(number)] = oid
        return found


class NumberedRefs:
    """The refs `<folder>/<number>`. Used in the git thread only."""

    def __init__(self, repository: Path, packed: PackedRefs, folder: str) -> None:
        self._folder = folder
        self._path = repository / folder
        self._packed = packed
        self._stamp: Stamp | None = None
        self._files: dict[str, tuple[Stamp, str]] = {}  # by name: when read, and the OID
        self._base: Mapping[int, str] = {}
        self._found: Mapping[int, str] = {}

    def read(self) -> Mapping[int, str]:
        """{number: OID}; the same object while nothing changed. Raises ReadFailed."""
        try:
            stamp = _stamp(self._path)
            fresh = stamp is None or stamp != self._stamp
            if fresh:  # before packed-refs: what is packed in between is found there
                self._files = self._read() if stamp is not None else {}
                self._stamp = _settled(stamp)
            base = self._packed.of(self._folder)
        except (OSError, ValueError) as error:
            raise ReadFailed(f"the refs in {self._path} cannot be read: {error}") from None
        if fresh or base is not self._base:
            loose = {int(name): oid for name, (_, oid) in self._files.items()}
            found = {**base, **loose}
            self._found = self._found if found == self._found else found
            self._base = base
        return self._found

    def _read(self) -> dict[str, tuple[Stamp, str]]:
        found = {}
        with os.scandir(self._path) as entries:
            for entry in entries:
                if not entry.name.isdecimal():
                    continue
                try:
                    found[entry.name] = self._one(entry)
                except FileNotFoundError:
                    continue  # packed meanwhile
        return found

    def _one(self, entry: os.DirEntry[str]) -> tuple[Stamp, str]:
        status = entry.stat(follow_symlinks=False)
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        known = self._files.get(entry.name)
        if known is not None and known[0] == stamp:
            return known
        data = Path(entry.path).read_bytes()
        if not _OID.fullmatch(data):
            raise ValueError(f"{entry.name} holds no object id")
        return stamp, data[:40].decode()


def _stamp(path: Path) -> Stamp | None:
    """What changes when a file is replaced, or an entry of a folder."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _settled(stamp: Stamp | None) -> Stamp | None:
    """`stamp`, if a later change cannot have the same."""
    if stamp is None or abs(time.time_ns() - stamp[1]) < _YOUNG:
        return None
    return stamp
