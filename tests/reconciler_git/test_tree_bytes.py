"""Trees as bytes: comparing and editing them gives what parsing the whole would give."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pygit2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygit2.enums import ObjectType
from support.git_work import git

from hive_reconciler.git.durable import write
from hive_reconciler.git.listing import BadTree, Entry, Listing
from hive_reconciler.git.objects import object_id
from hive_reconciler.git.store import MAIL, NAME, Store, create_bare
from hive_reconciler.git.trees import EMPTY
from hive_reconciler.model.tree import DIRECTORY, FILE, SUBMODULE


def oid(seed: int) -> str:
    return hashlib.sha1(b"%d" % seed, usedforsecurity=False).hexdigest()


entries = st.builds(
    Entry, st.sampled_from([FILE, DIRECTORY, SUBMODULE]), st.integers(0, 9).map(oid)
)
names = st.sampled_from([f"a{n}" for n in range(90)] + ["a", "a1.x", "a1-", "a10", "z", "b b"])
# Larger than what is parsed whole, and so alike that beginnings and ends are shared.
base = {f"a{n}": Entry(DIRECTORY, oid(n)) for n in range(90)}
edits = st.dictionaries(names, st.none() | entries, max_size=5)


def edited(changes: dict[str, Entry | None]) -> dict[str, Entry]:
    return {name: entry for name, entry in {**base, **changes}.items() if entry is not None}


@given(edits)
def test_patched_is_the_same_as_written_anew(changes: dict[str, Entry | None]) -> None:
    patched = Listing.of(base).patched(changes)
    assert patched.raw == Listing.of(edited(changes)).raw
    assert patched.entries == edited(changes)
    assert patched._boundaries() == Listing(patched.raw)._boundaries()


@given(edits, edits)
def test_differing_has_all_that_differs(
    one: dict[str, Entry | None], other: dict[str, Entry | None]
) -> None:
    old, new = Listing.of(edited(one)), Listing.of(edited(other))
    fresh = Listing(new.raw)
    before, after = old.differing(fresh)
    assert before.items() <= old.entries.items()
    assert after.items() <= new.entries.items()
    assert before.items() ^ after.items() == old.entries.items() ^ new.entries.items()
    assert fresh.entries == new.entries
    assert fresh._boundaries() == Listing(new.raw)._boundaries()


def test_a_tree_of_ten_thousand_is_compared_at_its_change() -> None:
    old = Listing.of({f"a{n:05}": Entry(DIRECTORY, oid(n)) for n in range(10_000)})
    new = old.patched({"a05000": Entry(DIRECTORY, oid(-1))})
    assert old.differing(Listing(new.raw)) == (
        {f"a{n:05}": Entry(DIRECTORY, oid(n)) for n in (4999, 5000, 5001)},
        {f"a{n:05}": Entry(DIRECTORY, oid(-1 if n == 5000 else n)) for n in (4999, 5000, 5001)},
    )


LINE = b"100644 a\0" + bytes(20)


@pytest.mark.parametrize(
    "raw", [b"x", LINE[:-1], LINE + b"x", LINE + LINE, b"100644 a/b\0" + bytes(20)]
)
def test_what_is_no_tree(raw: bytes) -> None:
    with pytest.raises(BadTree):
        _ = Listing(raw).entries


@pytest.mark.parametrize(
    ("name", "place"), [(b"a5", b"a59"), (b"zz", b"a0"), (b"a", b"a89"), (b"a55", b"a54")]
)
def test_an_entry_at_a_wrong_place_is_seen(name: bytes, place: bytes) -> None:
    """Whatever stands around it stands there in the other tree, too."""
    old = Listing.of(base)
    before, there, after = old.raw.partition(b"40000 %b\0" % place)
    line = b"40000 %b\0%b" % (name + b"-", bytes.fromhex(oid(3)))
    new = Listing(before + line + there + after)
    with pytest.raises(BadTree, match="order"):
        old.differing(new)


def test_a_name_that_comes_twice_is_seen_far_from_each_other() -> None:
    old = Listing.of({**base, **{f"a8-{n}": Entry(DIRECTORY, oid(n)) for n in range(30)}})
    before, after = old.raw.partition(b"40000 a8-0\0")[::2]
    twice = Listing(before + b"100644 a8\0" + bytes(20) + b"40000 a8-0\0" + after)
    with pytest.raises(BadTree, match="twice"):
        old.differing(twice)


def test_objects_are_written_as_git_reads_them(tmp_path: Path) -> None:
    repo = create_bare(tmp_path / "x.git", {}, 0o700)
    blobs = [b"", b"hi", bytes(100_000)]
    folder = b"".join(b"40000 a%05d\0%s" % (n, bytes.fromhex(EMPTY)) for n in range(9000))
    head = f"tree {EMPTY}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\n".encode()
    lengths = (65534, 65535, 65536, 2 * 65535)
    commits = [head + b"x" * (length - len(head)) for length in lengths]
    found = [
        (object_id(kind, data), (int(kind), data))
        for kind, contents in (
            (ObjectType.BLOB, blobs),
            (ObjectType.TREE, [b"", folder]),
            (ObjectType.COMMIT, commits),
        )
        for data in contents
    ]
    write(repo.path, found, (), lambda _: None)
    for name, (_, data) in found:
        assert git(tmp_path / "x.git", "cat-file", "-s", name) == str(len(data))
        assert repo.odb.read(name)[1] == data
    git(tmp_path / "x.git", "fsck", "--strict")
    repo.free()


def test_commits_and_tags_are_the_bytes_that_git_makes(tmp_path: Path) -> None:
    store = Store(create_bare(tmp_path / "x.git", {}, 0o700), tmp_path / "lock")
    empty = str(store.repo.TreeBuilder().write())
    text = store.commit_text("Größe\n\nkey: value\n", empty, ())
    commit = str(store.repo.odb.write(ObjectType.COMMIT, text))
    at = store.repo[commit].commit_time
    who = pygit2.Signature(NAME, MAIL, at, 0)
    made = store.repo.create_commit_string(who, who, "Größe\n\nkey: value\n", empty, [])
    assert text.decode() == made
    child = store.commit_text("second\n", empty, (commit, commit)).decode()
    assert child.startswith(f"tree {empty}\nparent {commit}\nparent {commit}\nauthor ")
    message = "Größe\n\nkey: value\n"
    store.tag("a/1", commit, message, 1700000000.9)
    who = pygit2.Signature(NAME, MAIL, 1700000000, 0)
    made = store.repo.create_tag("a/2", pygit2.Oid(hex=commit), ObjectType.COMMIT, who, message)
    theirs = store.repo.odb.read(made)[1].replace(b"tag a/2", b"tag a/1")
    assert store.repo.odb.read(store.ref("refs/tags/a/1"))[1] == theirs
    git(tmp_path / "x.git", "fsck", "--strict")
    store.repo.free()
