"""What happens to hive.git from outside, under the real loop: a right state, or a named
condition with its cure; and no container is touched for it."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from contextlib import asynccontextmanager

import pytest
from support.git_work import git
from support.small_disk import fill, tmpfs
from watchdog.observers.inotify import InotifyEmitter

from hive_reconciler.git.hive import Hive
from hive_reconciler.git.store import host_name
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError

from .conftest import Swarm

APPLIED = "refs/heads/applied"


@pytest.fixture
async def settled(swarm):
    """With one agent, at rest; what the runtime did so far is forgotten."""
    await swarm.spawn("scout")
    swarm.runtime.done.clear()
    return swarm


@asynccontextmanager
async def another_writer(swarm):
    """Moves `applied` as another process does: the loop hears of it from the file system only."""
    other = await Hive.open(swarm.layout, runtime_reads_nix=False)
    try:
        yield other
    finally:
        await other.close()


async def merge(hive: Hive, name: str) -> str:
    done = await hive.submit_spawn(Requester.user("root"), name, name)
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    return await hive.approve(done.n, effect.digest, "root")


async def in_git(swarm, *command, stdin=None):
    return await asyncio.to_thread(git, swarm.layout.hive_git, *command, stdin=stdin)


async def noticed(swarm, name):
    await swarm.until(lambda: swarm.is_ready(name), 30)


async def stalled(swarm, reason):
    """The words of the swarm's condition, which people see at `hive status`."""
    await swarm.until(lambda: (swarm.core.picture.stalled or ("",))[0] == reason, 30)
    status = await swarm.host.request("status")
    return status["stale"]


def touched(swarm):
    return [name for verb, name in swarm.runtime.done if verb != "update"]


@pytest.mark.slow
async def test_a_storm_of_refs_costs_few_rounds_and_hides_nothing(settled):
    tip = await in_git(settled, "rev-parse", APPLIED)
    lines = "".join(f"create refs/heads/storm/{n} {tip}\n" for n in range(3000))
    before = sum(settled.core.metrics.rounds.values())
    await in_git(settled, "update-ref", "--stdin", stdin=lines.encode())
    async with another_writer(settled) as other:
        await merge(other, "late")
    await noticed(settled, "late")
    assert touched(settled) == ["h-late"]
    assert sum(settled.core.metrics.rounds.values()) - before < 600  # and not one for each ref


async def test_packed_refs(settled):
    await in_git(settled, "pack-refs", "--all", "--prune")
    async with another_writer(settled) as other:
        await merge(other, "late")
        await in_git(settled, "pack-refs", "--all", "--prune")
    await noticed(settled, "late")
    assert touched(settled) == ["h-late"]


async def test_a_refs_directory_that_was_made_anew(settled):
    await in_git(settled, "pack-refs", "--all")
    await asyncio.to_thread(_replace_refs, settled.layout)
    await settled.host.request("reconcile", {"wait": True})
    async with another_writer(settled) as other:
        await merge(other, "late")
    await noticed(settled, "late")
    assert touched(settled) == ["h-late"]


def _replace_refs(layout: Layout) -> None:
    os.rename(layout.hive_git / "refs", layout.hive_git / "refs.old")
    for folder in ("refs/heads", "refs/tags"):
        (layout.hive_git / folder).mkdir(parents=True)


async def test_refs_that_are_away_are_said_and_come_back(settled):
    refs = settled.layout.hive_git / "refs"
    refs.rename(refs.with_name("refs.away"))
    async with asyncio.timeout(30):
        answer = await settled.host.request("reconcile", {"wait": True})
    assert answer["plan"] is None
    assert "hive.git" in await stalled(settled, "ReadFailed")
    refs.with_name("refs.away").rename(refs)
    await settled.host.request("reconcile", {"wait": True})
    await settled.until(lambda: settled.core.picture.stalled is None)
    assert touched(settled) == []


async def test_without_inotify_a_change_is_seen_at_the_next_look(settled, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    monkeypatch.setattr(InotifyEmitter, "on_thread_start", full)
    await settled.close()
    threads = threading.active_count()
    await settled.open()
    async with another_writer(settled) as other:
        await merge(other, "late")
    for _ in range(3):
        await settled.host.request("reconcile", {"wait": True})
    await noticed(settled, "late")
    assert touched(settled) == ["h-late"]
    assert not [t for t in threading.enumerate() if isinstance(t, InotifyEmitter)], threads


async def test_gc_meanwhile(settled):
    over = asyncio.Event()

    async def collect():
        while not over.is_set():
            await in_git(settled, "gc", "-q")

    task = asyncio.create_task(collect())
    async with another_writer(settled) as other:
        for name in ("one", "two", "three"):
            await merge(other, name)
            await noticed(settled, name)
    over.set()
    await task
    assert touched(settled) == ["h-one", "h-two", "h-three"]
    await in_git(settled, "fsck", "--strict")


async def test_a_rewritten_history_changes_nothing_and_can_be_put_back(settled):
    tip = await in_git(settled, "rev-parse", APPLIED)
    await in_git(settled, "update-ref", APPLIED, f"{tip}^")
    words = await stalled(settled, "HistoryRewritten")
    assert "hive accept" in words
    assert "put the branch back" in words
    assert settled.condition("scout", "Stalled").reason == "HistoryRewritten"
    await in_git(settled, "update-ref", APPLIED, tip)
    await settled.until(lambda: settled.core.picture.stalled is None)
    assert touched(settled) == []


async def test_a_rewritten_history_is_taken_over_by_a_person_only(settled):
    old = await in_git(settled, "rev-parse", f"{APPLIED}^")
    await in_git(settled, "update-ref", APPLIED, old)
    await stalled(settled, "HistoryRewritten")
    await settled.host.request("reconcile", {"wait": False})
    assert touched(settled) == []
    await settled.host.request("accept", {"oid": old, "reason": "the disk was restored"})
    await settled.until(lambda: ("destroy", "h-scout") in settled.runtime.done)
    await settled.until(lambda: settled.core.picture.stalled is None)
    assert set(touched(settled)) == {"h-scout"}


async def test_an_unrecorded_commit(settled):
    tree = await in_git(settled, "rev-parse", f"{APPLIED}^{{tree}}")
    oid = await in_git(settled, "commit-tree", tree, "-p", APPLIED, "-m", "by hand")
    await in_git(settled, "update-ref", APPLIED, oid)
    words = await stalled(settled, "UnrecordedCommit")
    assert f"hive accept {oid}" in words
    await settled.host.request("accept", {"oid": oid, "reason": "it was me"})
    await settled.until(lambda: settled.core.picture.stalled is None)
    assert touched(settled) == []


@pytest.mark.parametrize("ref", [APPLIED, f"refs/status/{host_name()}/applied"])
async def test_a_lock_of_a_ref_that_was_left_behind(layout, ref):
    swarm = Swarm(layout)
    layout.make_run()
    await swarm.broker.start()
    await swarm.open()
    try:
        await swarm.spawn("scout")
        swarm.runtime.done.clear()
        await asyncio.to_thread((layout.hive_git / f"{ref}.lock").touch)
        answer = await swarm.host.request("spawn", {"name": "late", "description": "x"})
        n = answer["proposal"]
        try:
            await swarm.approve(n)
        except RpcError as error:
            words = str(error)
        else:
            words = await stalled(swarm, "ReadFailed")
        assert f"{ref}.lock" in words
        assert "a new start of the reconciler removes it" in words
        assert touched(swarm) == []
        await swarm.close()
        await swarm.open()
        if (await swarm.host.request("proposal", {"n": n}))["state"] == "open":
            await swarm.approve(n)
        await noticed(swarm, "late")
        assert touched(swarm) == ["h-late"]
    finally:
        await swarm.close()
        await swarm.broker.stop()


@pytest.mark.root
async def test_a_full_disk(tmp_path, monkeypatch):
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(run))
    with tmpfs(tmp_path / "disk", "8m") as disk:
        swarm = Swarm(Layout.of(disk / "root"))
        swarm.layout.make_run()
        await swarm.broker.start()
        await swarm.open()
        try:
            await swarm.spawn("scout")
            swarm.runtime.done.clear()
            await asyncio.to_thread(fill, disk / "full")
            with pytest.raises(RpcError, match=r"No space left.*make room"):
                await swarm.host.request("spawn", {"name": "late", "description": "x"})
            await swarm.host.request("reconcile", {"wait": True})
            assert swarm.is_ready("scout")
            assert touched(swarm) == []
            (disk / "full").unlink()
            answer = await swarm.host.request("spawn", {"name": "late", "description": "x"})
            await asyncio.to_thread(fill, disk / "full")
            with pytest.raises(RpcError, match=r"No space left.*make room"):
                await swarm.approve(answer["proposal"])
            (disk / "full").unlink()
            await swarm.approve(answer["proposal"])
            await noticed(swarm, "late")
            assert touched(swarm) == ["h-late"]
        finally:
            await swarm.close()
            await swarm.broker.stop()
