"""gc when there is something to pack, under a reader that goes on."""

import asyncio
import os

import pytest
from support.git_work import git

from hive_reconciler.git import housekeeping, packdir
from hive_reconciler.git.first import FirstCommit
from hive_reconciler.git.hive import Hive
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout


@pytest.fixture
async def hive(tmp_path):
    layout = Layout(tmp_path / "root", tmp_path / "run", "-gc")
    found = await Hive.open(layout, runtime_reads_nix=False, first=FirstCommit(engine="rehearsal"))
    yield found, layout.hive_git
    await found.close()


def loose(path):
    return list((path / "objects").glob("??/*"))


async def test_many_loose_objects_are_packed_and_everything_is_still_there(hive, monkeypatch):
    found, path = hive
    before = await found.read()
    trees = found._all.trees
    await found._thread.run(lambda: [trees.write_blob(b"%d" % n) for n in range(400)])
    await housekeeping.collect(path)
    assert len(loose(path)) > 400, "few are left as they are"
    monkeypatch.setattr(housekeeping, "LOOSE", 100)
    await housekeeping.collect(path)
    assert loose(path) == []
    assert (await found.read()) == before
    await found.close()
    again = await Hive.open(found._all.layout, runtime_reads_nix=False)
    assert (await again.read()) == before
    await again.close()


async def test_packing_again_leaves_one_pack_and_no_ref_behind(hive, monkeypatch):
    found, path = hive
    monkeypatch.setattr(housekeeping, "LOOSE", 0)
    for n in range(3):
        done = await found.submit_spawn(Requester.user("ada"), f"a{n}", "x")
        await housekeeping.collect(path)
        assert len(packdir.indexes(path)) == 1
        assert not list((path / "refs").rglob("[0-9]*"))
        assert [p.n for p in await found.proposals()] == list(range(done.n, 0, -1))
        await housekeeping.collect(path)  # with nothing new
        git(path, "fsck", "--strict", "--connectivity-only")


def only_in_an_old_pack(path, text):
    """An object to which nothing refers, as of a history that was given up."""
    oid = git(path, "hash-object", "-w", "--stdin", stdin=text)
    name = git(path, "pack-objects", "-q", "objects/pack/pack", stdin=f"{oid}\n".encode())
    git(path, "prune-packed")
    for file in (path / "objects/pack").glob(f"*{name}*"):
        os.utime(file, (0, 0))
    return oid


async def test_what_a_submission_finds_in_an_old_pack_while_it_is_packed_stays(hive, monkeypatch):
    found, path = hive
    monkeypatch.setattr(housekeeping, "LOOSE", 0)
    oid = only_in_an_old_pack(path, b"be brief\n")
    run = housekeeping._run

    async def used_meanwhile(*arguments):
        await run(*arguments)
        if len(await found.proposals()) == 0:
            await found.submit_spawn(Requester.user("ada"), "a", "x", prompt="be brief")

    monkeypatch.setattr(housekeeping, "_run", used_meanwhile)
    await housekeeping.collect(path)
    assert len(await found.proposals()) == 1
    git(path, "fsck", "--strict", "--connectivity-only")
    assert git(path, "cat-file", "-t", oid) == "blob"


async def test_hive_git_forgets_nothing_but_what_a_killed_writer_left(hive, monkeypatch):
    found, path = hive
    monkeypatch.setattr(housekeeping, "LOOSE", 0)
    oid = only_in_an_old_pack(path, b"given up")
    loose_one = git(path, "hash-object", "-w", "--stdin", stdin=b"written, and then a power cut")
    os.utime(path / "objects" / loose_one[:2] / loose_one[2:], (0, 0))
    left = [
        path / "objects" / name for name in ("tmp_obj_1", "pack/tmp_pack_1", "pack/pack-0.pack")
    ]
    young = path / "objects/tmp_obj_2"
    for file in (*left, young):
        file.write_bytes(b"half")
    for file in left:
        os.utime(file, (0, 0))
    for name in ("a", "b"):
        await found.submit_spawn(Requester.user("ada"), name, "x")
        await housekeeping.collect(path)
    assert [git(path, "cat-file", "-t", known) for known in (oid, loose_one)] == ["blob"] * 2
    (index,) = packdir.indexes(path)
    assert index.with_suffix(".bitmap").exists(), "it makes every fetch faster"
    assert young.exists()
    assert not any(file.exists() for file in left)


async def test_what_only_an_old_pack_of_the_inbox_has_stays_for_two_weeks(hive, monkeypatch):
    """As of a push that has no branch yet, or none any more. git makes the pack young again when
    a push brings what it has."""
    found, _ = hive
    inbox = found._all.layout.inbox_git
    monkeypatch.setattr(housekeeping, "LOOSE", 0)

    async def packed_with_news(text):
        oid = git(inbox, "hash-object", "-w", "--stdin", stdin=text)
        git(inbox, "update-ref", f"refs/tags/{oid}", oid)
        await housekeeping.collect(inbox, forgets=True)

    oid = only_in_an_old_pack(inbox, b"pushed again")
    git(inbox, "hash-object", "-w", "--stdin", stdin=b"pushed again")
    await packed_with_news(b"one")
    assert git(inbox, "cat-file", "-t", oid) == "blob"
    for file in (inbox / "objects/pack").iterdir():
        os.utime(file, (0, 0))
    await packed_with_news(b"two")
    assert len(packdir.indexes(inbox)) == 1
    known = git(inbox, "cat-file", "--batch-check", stdin=f"{oid}\n".encode())
    assert known == f"{oid} missing"


async def test_a_gc_that_does_not_end_is_killed_with_its_children(hive, monkeypatch, tmp_path):
    _, path = hive
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {tmp_path}/pid; wait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(housekeeping, "DEADLINE", 0.5)
    monkeypatch.setattr(housekeeping, "LOOSE", 0)
    await housekeeping.collect(path)
    pid = (tmp_path / "pid").read_text().strip()
    async with asyncio.timeout(10):
        while (tmp_path.__class__("/proc") / pid / "stat").exists():
            stat = (tmp_path.__class__("/proc") / pid / "stat").read_text()
            if stat.rpartition(")")[2].split()[0] == "Z":
                break
            await asyncio.sleep(0.02)
