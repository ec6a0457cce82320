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
        {"a05000": Entry(DIRECTORY, oid(5000))},
        {"a05000": Entry(DIRECTORY, oid(-1))},
    )


LINE = b"100644 a\0" + bytes(20)


@pytest.mark.parametrize(
    "raw", [b"x", LINE[:-1], LINE + b"x", LINE + LINE, b"100644 a/b\0" + bytes(20)]
)
def test_what_is_no_tree(raw: bytes) -> None:
    with pytest.raises(BadTree):
        _ = Listing(raw).entries


def test_a_name_that_comes_twice_is_seen_far_from_each_other() -> None:
    old = Listing.of(base)
    twice = Listing(old.raw + b"40000 a0\0" + bytes(20))
    with pytest.raises(BadTree, match="twice"):
        old.differing(twice)


def test_objects_are_written_as_git_reads_them(tmp_path: Path) -> None:
    repo = create_bare(tmp_path / "x.git", {}, 0o700)
    bodies = [b"blob 0\0", b"blob 2\0hi", b"blob 100000\0" + bytes(100_000)]
    folder = b"".join(b"40000 a%05d\0%s" % (n, bytes.fromhex(EMPTY)) for n in range(9000))
    bodies += [b"tree 0\0", b"tree %d\0%s" % (len(folder), folder)]
    head = f"tree {EMPTY}\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\n".encode()
    for length in (65534, 65535, 65536, 2 * 65535):  # in the end, with the header
        text = head + b"x" * (length - len(head) - len(b"commit 65535\0"))
        bodies.append(b"commit %d\0%s" % (len(text), text))
    assert {65535, 65536} <= {len(body) for body in bodies}
    found = [(hashlib.sha1(body, usedforsecurity=False).hexdigest(), body) for body in bodies]
    write(repo.path, found, (), lambda _: None)
    for name, body in found:
        assert git(tmp_path / "x.git", "cat-file", "-s", name) == str(len(body.split(b"\0", 1)[1]))
        assert repo.odb.read(name)[1] == body.split(b"\0", 1)[1]
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
