"""Power cuts for a whole folder: from a trace to the files, and the names, that a disk may hold.

A sync of a file keeps its content, and promises nothing about any name. A sync of a folder keeps
the names in it as they are, and promises nothing about what they name. Of what was changed since,
the disk has nothing, all, some changes, or torn writes: each is tried.
"""

from __future__ import annotations

import posixpath
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.power_records import Op

SECTOR = 512
WAYS = ("nothing", "all", "some", "torn")


class File:
    """A content that is certain, and changes that are not."""

    def __init__(self) -> None:
        self.certain = bytearray()
        self.pending: list[Op] = []

    def sync(self) -> None:
        for op in self.pending:
            _change(self.certain, op)
        self.pending.clear()

    def after_cut(self, way: str, dice: random.Random) -> bytes:
        content = bytearray(self.certain)
        for op in self.pending:
            if way == "all" or (way == "some" and dice.random() < 0.5):
                _change(content, op)
            elif way == "torn":
                for part in _sectors(op):
                    if dice.random() < 0.6:
                        _change(content, part)
        return bytes(content)


class Folder:
    """Names that are certain, and changes of names that are not; None: it is removed."""

    def __init__(self) -> None:
        self.certain: dict[str, File | Folder] = {}
        self.pending: list[tuple[str, File | Folder | None]] = []

    def now(self) -> dict[str, File | Folder]:
        return _named(self.certain, self.pending)

    def sync(self) -> None:
        self.certain = self.now()
        self.pending.clear()

    def after_cut(self, way: str, dice: random.Random) -> dict[str, File | Folder]:
        likely = {"nothing": 0.0, "all": 1.0, "some": 0.5, "torn": 0.5}[way]
        return _named(self.certain, [change for change in self.pending if dice.random() < likely])


class Disk:
    """One folder, and what is below it, as of some op."""

    def __init__(self) -> None:
        self.top = Folder()
        self._opened: dict[int, File | Folder] = {}

    def apply(self, op: Op) -> None:
        match op.kind:
            case "C":
                folder, name = self._place(op.file)
                found = folder.now().get(name)
                if found is None:
                    found = File()
                    folder.pending.append((name, found))
                self._opened[op.opened] = found
            case "W" | "T":
                self._file(op).pending.append(op)
            case "S":
                self._file(op).sync()
            case "D":
                self._find(op.file).sync()
            case "M" if op.file:  # else the top itself
                folder, name = self._place(op.file)
                folder.pending.append((name, Folder()))
            case "U":
                folder, name = self._place(op.file)
                folder.pending.append((name, None))
            case "R" | "L":
                source, old = self._place(op.file)
                target, new = self._place(op.data.decode())
                target.pending.append((new, source.now()[old]))
                if op.kind == "R":
                    source.pending.append((old, None))

    def put(self, place: Path, way: str, dice: random.Random) -> None:
        """One of the things that may be there when the power is back."""
        _put(self.top, place, way, dice)

    def _file(self, op: Op) -> File:
        found = self._opened.setdefault(op.opened, self._find(op.file))
        assert isinstance(found, File), op
        return found

    def _find(self, path: str) -> File | Folder:
        found: File | Folder = self.top
        for part in path.split("/") if path else ():
            assert isinstance(found, Folder), path
            found = found.now()[part]
        return found

    def _place(self, path: str) -> tuple[Folder, str]:
        above, name = posixpath.split(path.rstrip("/"))
        folder = self._find(above)
        assert isinstance(folder, Folder), path
        return folder, name


def boundaries(ops: Sequence[Op]) -> list[int]:
    """The syncs: right before and right after each of them is where the power is cut."""
    return [number for number, op in enumerate(ops) if op.kind in "SD"]


def _named(
    certain: dict[str, File | Folder], changes: Sequence[tuple[str, File | Folder | None]]
) -> dict[str, File | Folder]:
    found = dict(certain)
    for name, what in changes:
        if what is None:
            found.pop(name, None)
        else:
            found[name] = what
    return found


def _put(folder: Folder, place: Path, way: str, dice: random.Random) -> None:
    place.mkdir()
    for name, what in sorted(folder.after_cut(way, dice).items()):
        if isinstance(what, Folder):
            _put(what, place / name, way, dice)
        else:
            (place / name).write_bytes(what.after_cut(way, dice))


def _sectors(op: Op) -> Iterator[Op]:
    if op.kind == "T":
        yield op
    for start in range(0, len(op.data), SECTOR):
        yield Op("W", op.file, op.offset + start, op.data[start : start + SECTOR])


def _change(content: bytearray, op: Op) -> None:
    if op.kind == "T":
        del content[op.offset :]
    end = op.offset + len(op.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[op.offset : end] = op.data
