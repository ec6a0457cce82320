"""Power cuts: from a trace of a broker's writes, syncs and words to what a disk may hold.

At a cut the disk has what was synced. Of what was written since, it has nothing, all, some
whole writes, or some 512-byte sectors of them: each is tried. `power_trace.c` makes the trace.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.power_records import Op, records

from hive_broker.store.checksum import SQL as CRC
from hive_broker.store.opening import open_store

SECTOR = 512
BIRTH = 8  # syncs while the file is made
WAYS = ("nothing", "all", "some writes", "torn")


def trace(path: Path) -> list[Op]:
    """Of a broker: its files lie in one folder, and none is moved."""
    return [op for op in records(path) if op.kind in "WTUSA"]


@dataclass
class Promised:
    """What the broker had said by then: ids of messages it acknowledged, and of those that
    it took for done (it granted the next one)."""

    stored: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)
    granted: int | None = None

    def hear(self, words: bytes) -> None:
        for line in words.split(b"\n"):
            try:
                said = json.loads(line)
            except ValueError:
                continue  # the end of a frame that was said in parts
            result = said.get("result")
            if isinstance(result, dict) and result.keys() == {"id", "thread"}:
                self.stored.add(result["id"])
            if said.get("method") == "grant":
                message = int(said["params"]["turn"].partition(".")[0])
                if self.granted not in (None, message):
                    self.done.add(self.granted)
                self.granted = message


class Disk:
    """The files as of some op: what is certain, and what is only written."""

    def __init__(self) -> None:
        self.certain: dict[str, bytearray] = {}
        self.pending: dict[str, list[Op]] = {}
        self.removed: set[str] = set()  # and no sync of any file since
        self.promised = Promised()

    def apply(self, op: Op) -> None:
        if op.kind == "A":
            self.promised.hear(op.data)
        elif op.kind == "U":
            self.removed.add(op.file)
        elif op.kind == "S":
            self._forget(self.removed)
            certain = self.certain.setdefault(op.file, bytearray())
            for earlier in self.pending.pop(op.file, ()):
                change(certain, earlier)
        else:
            self._forget(self.removed & {op.file})
            self.pending.setdefault(op.file, []).append(op)

    def _forget(self, names: set[str]) -> None:
        for name in names:
            self.certain.pop(name, None)
            self.pending.pop(name, None)
        self.removed = self.removed - names

    def after_cut(self, way: str, dice: random.Random) -> dict[str, bytes]:
        """One of the things that may be there when the power is back."""
        found = {}
        there = self.certain.keys() | self.pending.keys()
        if way == "all":
            there -= self.removed
        for name in sorted(there):
            content = bytearray(self.certain.get(name, b""))
            for op in self.pending.get(name, ()):
                for part in kept(op, way, dice):
                    change(content, part)
            found[name] = bytes(content)
        return found


def kept(op: Op, way: str, dice: random.Random) -> Iterator[Op]:
    whole = way == "all" or (way == "torn" and op.kind == "T")
    if whole or (way == "some writes" and dice.random() < 0.5):
        yield op
    elif way == "torn":
        for start in range(0, len(op.data), SECTOR):
            if dice.random() < 0.6:
                yield Op("W", op.file, op.offset + start, op.data[start : start + SECTOR])


def change(content: bytearray, op: Op) -> None:
    end = op.offset + len(op.data)
    if op.kind == "T":
        del content[op.offset :]
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[op.offset : end] = op.data


@dataclass(frozen=True)
class Replayed:
    """`wrong` says of each cut that broke a promise which and how."""

    boundaries: int
    cuts: int
    most_promised: int
    wrong: list[str]


def replay(ops: list[Op], boundaries: int | None = None, seed: int = 1) -> Replayed:
    """Cut the power right before and right after syncs (all, or the first ones and that many
    of the others). What the disk then holds is put into memory."""
    with tempfile.TemporaryDirectory(prefix="hive-cut-", dir="/dev/shm") as scratch:
        return _replay(ops, Path(scratch), boundaries, random.Random(seed))


def _replay(ops: list[Op], scratch: Path, boundaries: int | None, dice: random.Random) -> Replayed:
    syncs = [n for n, op in enumerate(ops) if op.kind == "S"]
    chosen = set(syncs)
    if boundaries is not None:
        chosen = {*syncs[:BIRTH], *dice.sample(syncs, min(boundaries, len(syncs)))}
    disk, cuts, wrong = Disk(), 0, list[str]()

    def cut(where: str) -> int:
        for way in WAYS:
            problem = check(disk.after_cut(way, dice), disk.promised, scratch)
            if problem:
                wrong.append(f"{where}, {way}: {problem}")
        return len(WAYS)

    for number, op in enumerate(ops):
        if number in chosen:
            cuts += cut(f"before sync {number} of {op.file}")
        disk.apply(op)
        if number in chosen:
            cuts += cut(f"after sync {number} of {op.file}")
    return Replayed(len(chosen), cuts, len(disk.promised.stored), wrong)


def check(files: dict[str, bytes], promised: Promised, scratch: Path) -> str:
    """What is wrong with what the power cut left; "" when nothing is."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for name, content in files.items():
        (scratch / name).write_bytes(content)
    try:
        store = open_store(scratch / "broker.db", now=0.0)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from starting
        return f"does not start: {error}"
    try:
        return _broken_promise(store.db, promised)
    except sqlite3.DatabaseError as error:  # too broken to be judged
        return f"cannot be read: {error}"
    finally:
        store.db.close()
        store.high.close()


def _broken_promise(db: sqlite3.Connection, promised: Promised) -> str:
    sound = db.execute("pragma integrity_check").fetchone()[0]
    if sound != "ok":
        return str(sound)
    stored = dict(db.execute(f"select m.id, m.crc = {CRC} from message m"))
    if missing := promised.stored - stored.keys():
        return f"lost {len(missing)} acknowledged messages"
    if damaged := [ident for ident, right in stored.items() if not right]:
        return f"{len(damaged)} damaged messages"
    is_open = {row[0] for row in db.execute("select message from delivery where state=0")}
    if again := promised.done & is_open:
        return f"{len(again)} messages come again that were done"
    if orphans := stored.keys() - set(itertools.chain(*db.execute("select message from delivery"))):
        return f"{len(orphans)} messages without a recipient"
    return ""
