"""Our reading of packs beside that of `git index-pack`, and what it does to hostile ones."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.git_work import ENVIRONMENT, git
from support.packs import (
    BLOB,
    blob_id,
    copy,
    delta,
    insert,
    ofs_delta,
    pack,
    ref_delta,
    sealed,
    whole,
)

from hive_reconciler.git import deltas
from hive_reconciler.git.deltas import Resolver
from hive_reconciler.git.errors import Refused
from hive_reconciler.git.objects import Raw
from hive_reconciler.git.pack import BadPack, Packed, dump, load, unpack

KNOWN = b"what the asker has\n" * 20
ROOM = 1 << 20
MOST = 1000


def known(oid: str) -> Raw | None:
    return (BLOB, KNOWN) if oid == blob_id(KNOWN) else None


def read(data: bytes, room: int = ROOM) -> set[str] | str:
    """The OIDs of a pack, read as an import does; or why it is refused."""
    try:
        entries = load(b"".join(dump(unpack(data, MOST, room))), MOST)
        return set(Resolver(known, room).resolve(entries))
    except BadPack as error:
        return str(error)
    except Refused as error:
        return error.message


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("oracle") / "hive.git"
    git(path.parent, "init", "-q", "--bare", str(path))
    git(path, "hash-object", "-w", "--stdin", stdin=KNOWN)
    yield path
    shutil.rmtree(path)


def git_reads(repository: Path, data: bytes) -> set[str] | None:
    """The same by git. From a file: only then it looks behind the end."""
    file = repository.parent / "pack"
    file.write_bytes(data)
    with file.open("rb") as stream:
        done = subprocess.run(
            ["git", f"--git-dir={repository}", "index-pack", "--stdin", "--fix-thin"],
            stdin=stream,
            capture_output=True,
            check=False,
            env=ENVIRONMENT,
        )
    if done.returncode:
        return None
    index = repository / f"objects/pack/pack-{done.stdout.split()[1].decode()}.idx"
    with index.open("rb") as stream:
        shown = subprocess.run(
            ["git", "show-index"], stdin=stream, capture_output=True, check=True, env=ENVIRONMENT
        )
    for made in index.parent.iterdir():
        made.unlink()
    return {line.split()[1].decode() for line in shown.stdout.splitlines()}


# -- any pack -----------------------------------------------------------------------


@st.composite
def deltas_on(draw: st.DrawFn, base: bytes, *, sound: bool) -> tuple[bytes, bytes]:
    """A delta, and what it makes; now and then one that does not hold together."""
    steps, made = [], b""
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            offset = draw(st.integers(0, len(base)))
            size = draw(st.integers(0, len(base) - offset))
            if sound and not size:
                continue  # no number: the largest that has none
            steps.append(copy(offset, size))
            made += base[offset : offset + (size or 0x10000)]
        else:
            text = draw(st.binary(max_size=200))
            steps.append(insert(text))
            made += text
    lie = 0 if sound else draw(st.sampled_from([0, 0, 0, 1, -1]))
    before = len(base) + (0 if sound else draw(st.sampled_from([0, 0, 0, 0, 1])))
    return delta(before, max(len(made) + lie, 0), steps), made


@st.composite
def packs(draw: st.DrawFn) -> bytes:
    entries: list[bytes] = []
    contents: list[bytes] = []
    sound = draw(st.booleans())
    kinds = ["whole", "whole", "ofs", "ref", "thin"] + ([] if sound else ["again", "nowhere"])
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(kinds))
        place = len(entries)
        if kind == "again" and entries:
            made = contents[-1]
            entry = whole(BLOB, made)
        elif kind == "ofs" and entries:
            on = draw(st.integers(0, len(entries) - 1))
            change, made = draw(deltas_on(contents[on], sound=sound))
            entry = ofs_delta(sum(map(len, entries[on:])), change)
        elif kind in ("ref", "thin", "nowhere"):
            base = draw(st.sampled_from(contents)) if kind == "ref" and entries else KNOWN
            change, made = draw(deltas_on(base, sound=sound))
            entry = ref_delta("1" * 40 if kind == "nowhere" else blob_id(base), change)
            if draw(st.booleans()):
                place = 0  # what it changes comes later; distances between others stay
        else:
            made = draw(st.binary(max_size=300))
            lie = 0 if sound else draw(st.sampled_from([0, 0, 0, 1]))
            entry = whole(BLOB, made, len(made) + lie)
        entries.insert(place, entry)
        contents.insert(place, made)
    count = len(entries) + (0 if sound else draw(st.sampled_from([0, 0, 0, 1, -1])))
    return pack(entries, count)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = draw(packs())
    body = bytearray(data[:-20])
    match draw(st.sampled_from(["as it is"] * 6 + ["flip", "cut", "more", "seal"])):
        case "flip":
            body[draw(st.integers(0, len(body) - 1))] ^= 1 << draw(st.integers(0, 7))
            return sealed(bytes(body))
        case "cut":
            return sealed(bytes(body[: draw(st.integers(0, len(body)))]))
        case "more":
            return data + draw(st.binary(min_size=1, max_size=30))
        case "seal":
            return bytes(body) + draw(st.binary(min_size=20, max_size=20))
    return data


@given(damaged())
def test_git_reads_the_same_or_refuses_as_well(oracle: Path, data: bytes) -> None:
    """But version 3, which nobody writes, and objects that come twice: of those it takes some."""
    ours, theirs = read(data), git_reads(oracle, data)
    if isinstance(ours, str):
        assert theirs is None or "twice" in ours or "version 2" in ours
    else:
        assert theirs is not None
        assert ours | {blob_id(KNOWN)} == theirs | {blob_id(KNOWN)}, "git adds the base"


@given(st.binary(max_size=300))
def test_whatever_the_jail_answers_is_refused_or_whole(data: bytes) -> None:
    try:
        entries = load(data, MOST)
    except ValueError:
        return
    assert load(b"".join(dump(entries)), MOST) == entries


# -- hostile ones ---------------------------------------------------------------------


def zeros(size: int) -> bytes:
    """Deflated: as small as it gets."""
    return whole(BLOB, bytes(size))


def chain(length: int, base: bytes) -> list[bytes]:
    """Deltas on deltas on a base, each of which copies all and adds a byte."""
    entries, size = [whole(BLOB, base)], len(base)
    for _ in range(length):
        change = delta(size, size + 1, [copy(0, size), insert(b"x")])
        entries.append(ofs_delta(len(entries[-1]), change))
        size += 1
    return entries


def many_copies() -> bytes:
    """Two hundred times eight times a base."""
    entries = [zeros(0xFFFFF)]
    for _ in range(200):
        twice = delta(0xFFFFF, 0xFFFFF * 8, [copy(0, 0xFFFFF)] * 8)
        entries.append(ofs_delta(sum(map(len, entries)), twice))
    return pack(entries)


def many_steps() -> bytes:
    base = whole(BLOB, b"x")
    return pack([base, ofs_delta(len(base), delta(1, 1 << 19, [copy(0, 1)] * (1 << 16)))])


def much_of_nothing() -> bytes:
    deflater = zlib.compressobj(0)
    nothing = deflater.flush(zlib.Z_SYNC_FLUSH) * 200_000
    return pack([b"\x30" + deflater.compress(b"") + nothing + deflater.flush()])


BOMBS: dict[str, Callable[[], bytes]] = {
    "one long object": lambda: pack([zeros(100 << 20)]),
    "many long objects": lambda: pack([zeros(1 << 20)] * 100),
    "a size that is none": lambda: pack([b"\xbf" + b"\xff" * 30]),
    "longer than it says": lambda: pack([whole(BLOB, bytes(100 << 20), 10)]),
    "nothing, and more": lambda: pack([whole(BLOB, bytes(100 << 20), 0)]),
    "a delta of copies": many_copies,
    "a long chain": lambda: pack(chain(900, bytes(1 << 14))),
    "a chain of large ones": lambda: pack(chain(100, bytes(1 << 19))),
    "many steps": many_steps,
    "nothing, at length": much_of_nothing,
    "a large count": lambda: pack([], 0xFFFFFFFF),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_its_room(name: str) -> None:
    data = BOMBS[name]()
    tracemalloc.start()
    try:
        found = read(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * ROOM + 4 * len(data)
    assert isinstance(found, str) or name == "nothing, at length"


def test_steps_of_deltas_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"a" * 50
    base = whole(BLOB, text)
    first = ofs_delta(len(base), delta(50, 5, [copy(n, 1) for n in range(5)]))
    second = ofs_delta(len(base) + len(first), delta(50, 6, [copy(n, 1) for n in range(6)]))
    data = pack([base, first, second])
    monkeypatch.setattr(deltas, "MAX_STEPS", 10)
    assert "steps" in read(data)


def test_a_cycle_of_deltas_is_refused(oracle: Path) -> None:
    """Each names the other as its base."""
    one, other = "1" * 40, "2" * 40
    change = delta(1, 1, [copy(0, 1)])
    for data in (
        pack([ref_delta(one, change), ref_delta(other, change)]),
        pack([ofs_delta(0, change)]),
        pack([whole(BLOB, b"x"), ofs_delta(5, change)]),
    ):
        assert "base" in read(data)
        assert git_reads(oracle, data) is None


def test_a_long_chain_is_followed(oracle: Path) -> None:
    data = pack(chain(900, b"x"))
    found = read(data)
    assert len(found) == 901
    assert git_reads(oracle, data) == found


def test_a_base_is_asked_for_once() -> None:
    change = delta(len(KNOWN), 1, [copy(0, 1)])
    other = delta(len(KNOWN), 2, [copy(0, 2)])
    entries = [Packed(12, 7, blob_id(KNOWN), change), Packed(99, 7, blob_id(KNOWN), other)]
    asked: list[str] = []

    def ask(oid: str) -> Raw | None:
        asked.append(oid)
        return known(oid)

    assert set(Resolver(ask, ROOM).resolve(entries)) == {blob_id(KNOWN[:n]) for n in (1, 2)}
    assert asked == [blob_id(KNOWN)]
