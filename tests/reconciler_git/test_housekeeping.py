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
    monkeypatch.setattr(housekeeping, "KEEP", 0.0)
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


async def test_what_only_an_old_pack_has_stays_for_two_weeks(hive, monkeypatch):
    """As a push that was packed, and has no branch yet."""
    found, path = hive
    monkeypatch.setattr(housekeeping, "LOOSE", 0)
    oid = git(path, "hash-object", "-w", "--stdin", stdin=b"on its way")
    name = git(path, "pack-objects", "-q", "objects/pack/pack", stdin=f"{oid}\n".encode())
    git(path, "prune-packed")
    (path / f"objects/pack/pack-{'0' * 40}.pack").write_bytes(b"left by a power cut")
    await found.submit_spawn(Requester.user("ada"), "a", "x")
    await housekeeping.collect(path)
    assert git(path, "cat-file", "-t", oid) == "blob"
    for file in (path / "objects/pack").iterdir():
        if name in file.name or "0" * 40 in file.name:
            os.utime(file, (0, 0))
    await found.submit_spawn(Requester.user("ada"), "b", "x")
    await housekeeping.collect(path)
    assert len(packdir.indexes(path)) == 1
    assert not list((path / "objects/pack").glob(f"*{'0' * 40}*"))
    assert len(await found.proposals()) == 2


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
