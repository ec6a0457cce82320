"""Many deciders at once, in one process and in several: one outcome each, nothing lost."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest
from support.git_work import Clone, git, manager_of

from hive_reconciler.git import loose
from hive_reconciler.git.errors import Busy, Conflict
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.verify import verify
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout

N = 24


async def opened(hive: Hive, requester: Requester, count: int) -> dict[int, str]:
    found = {}
    for number in range(count):
        done = await hive.submit_spawn(requester, f"a{number}", "x")
        effect = (await hive.proposal(done.n)).effect
        assert effect is not None
        found[done.n] = effect.digest
    return found


async def attempt(hive: Hive, n: int, digest: str, what: str) -> str | None:
    try:
        if what == "approve":
            await hive.approve(n, digest, "root")
        elif what == "deny":
            await hive.deny(n, "no", "root")
        else:
            await hive.withdraw(n, "root")
        return what
    except Conflict:
        return None


async def test_one_outcome_each(hive: Hive, manager: Requester, layout: Layout) -> None:
    digests = await opened(hive, manager, N)
    other = await Hive.open(layout, runtime_reads_nix=False)
    words = {"approve": "merged", "deny": "denied", "withdraw": "withdrawn"}
    try:
        results = await asyncio.gather(
            *(
                attempt(door, n, digest, what)
                for n, digest in digests.items()
                for what in words
                for door in (hive, other)
            )
        )
        per = 2 * len(words)
        for index, n in enumerate(digests):
            won = [r for r in results[index * per : (index + 1) * per] if r is not None]
            assert len(won) == 1
            assert (await other.proposal(n)).state == words[won[0]]
    finally:
        await other.close()
    merged = await hive.proposals("merged", 500)
    desired = await hive.read()
    assert desired.agents.keys() == {"hm1nd", *(p.pinned.agent for p in merged)}
    log = git(layout.hive_git, "rev-list", "--first-parent", "--count", "applied")
    assert int(log) == len(merged) + 1
    git(layout.hive_git, "fsck", "--strict")


async def test_fifty_at_once_with_pushes(
    hive: Hive, manager: Requester, layout: Layout, tmp_path: Path
) -> None:
    """Approvals, denials, withdrawals and pushes: one outcome each, a line of merges, no loss."""
    cards, pushes = 13, 11
    digests = await opened(hive, manager, cards)
    clones = [Clone(layout.hive_git, tmp_path / f"c{number}") for number in range(pushes)]

    async def push(number: int) -> None:
        clone = clones[number]
        clone.change(f"modules/m{number}.nix", "{ }\n", f"Module {number}")
        target = f"HEAD:refs/heads/proposed/m{number}"
        await asyncio.to_thread(git, clone.path, "push", "-q", str(layout.inbox_git), target)
        await hive.import_inbox()

    words = {"approve": "merged", "deny": "denied", "withdraw": "withdrawn"}
    tasks = [attempt(hive, n, digest, word) for n, digest in digests.items() for word in words]
    tasks += [push(number) for number in range(pushes)]
    assert len(tasks) == 50
    random.Random(1).shuffle(tasks)
    results = await asyncio.gather(*tasks)
    assert sum(result is not None for result in results) == cards
    await hive.import_inbox()
    proposals = await hive.proposals(limit=500)
    assert [p.n for p in proposals] == list(range(cards + pushes, 0, -1))
    assert {p.pinned.source for p in proposals} == {"", *(f"m{n}" for n in range(pushes))}
    for proposal in [p for p in proposals if p.state == "open"]:
        effect = (await hive.proposal(proposal.n)).effect
        assert effect is not None
        await hive.approve(proposal.n, effect.digest, "root")
    merged = await hive.proposals("merged", 500)
    log = git(layout.hive_git, "rev-list", "--first-parent", "--count", "applied")
    assert int(log) == len(merged) + 1
    modules = git(layout.hive_git, "ls-tree", "--name-only", "applied:modules").split()
    assert len(modules) == pushes
    assert (await asyncio.to_thread(verify, layout)).ok


WORKER = """
import asyncio, sys
from hive_reconciler.git.errors import Conflict
from hive_reconciler.git.hive import Hive
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout

async def main(root, start, uid):
    hive = await Hive.open(Layout.of(root), runtime_reads_nix=False)
    requester = Requester.agent(uid, "hm1nd")
    won = 0
    for number in range(int(start), int(start) + 6):
        done = await hive.submit_spawn(requester, f"w{number}", "x")
        effect = (await hive.proposal(done.n)).effect
        await hive.approve(done.n, effect.digest, "root")
        for n in range(1, 5):
            proposal = await hive.proposal(n)
            try:
                await hive.approve(n, proposal.effect.digest, "root")
                won += 1
            except Conflict:
                pass
    await hive.close()
    print(won)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_several_processes(
    hive: Hive, manager: Requester, layout: Layout, tmp_path: Path
) -> None:
    await opened(hive, manager, 4)
    assert manager.uid is not None
    script = tmp_path / "worker.py"
    await asyncio.to_thread(script.write_text, WORKER)
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-W", "error", str(script), str(layout.root), str(start), manager.uid),
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        for start in (0, 10, 20)
    ]
    outputs = [await child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sum(int(out.decode()) for out, _ in outputs) == 4
    proposals = await hive.proposals(limit=500)
    assert sorted(p.n for p in proposals) == list(range(1, 23))
    assert {p.state for p in proposals} == {"merged"}
    assert len((await hive.read()).agents) == 23


async def test_a_moved_branch_is_not_overwritten(
    hive: Hive, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody moves `applied` in the middle of a merge, past every lock of ours."""
    manager = await manager_of(hive)
    digests = await opened(hive, manager, 1)
    tip = await hive.tip()
    other = git(layout.hive_git, "commit-tree", f"{tip}^{{tree}}", "-p", tip, "-m", "x")
    create = hive._all.store.create_merge

    def move_first(*arguments: object) -> str:
        git(layout.hive_git, "update-ref", "refs/heads/applied", other)
        return create(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(hive._all.store, "create_merge", move_first)
    with pytest.raises(Conflict, match="moved"):
        await hive.approve(1, digests[1], "root")
    assert await hive.tip() == other
    assert (await hive.proposal(1)).state == "open"


STEPS = ["persist", "create_merge", "made", "swap_ref"]


class Crash(BaseException):
    pass


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
async def test_crash_between_any_two_steps_of_a_merge(
    hive: Hive, layout: Layout, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    manager = await manager_of(hive)
    digests = await opened(hive, manager, 1)
    owner = {"persist": hive._all.trees, "made": hive._all.history}.get(step, hive._all.store)
    real = getattr(owner, step)

    def crash(*arguments: object) -> object:
        if after:
            real(*arguments)
        raise Crash

    monkeypatch.setattr(owner, step, crash)
    with pytest.raises(Crash):
        await hive.approve(1, digests[1], "root")
    again = await Hive.open(layout, runtime_reads_nix=False)
    try:
        merged = step == "swap_ref" and after
        assert (await again.proposal(1)).state == ("merged" if merged else "open")
        assert ("a0" in (await again.read()).agents) == merged
        if not merged:
            await again.approve(1, digests[1], "root")
        assert "a0" in (await again.read()).agents
        git(layout.hive_git, "fsck", "--strict")
    finally:
        await again.close()


async def test_a_crash_in_a_submission_leaves_no_proposal(
    hive: Hive, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = await manager_of(hive)
    for step in ("create_commit", "tag_text", "create_ref"):
        with monkeypatch.context() as patch:
            patch.setattr(hive._all.store, step, _crash)
            with pytest.raises(Crash):
                await hive.submit_spawn(manager, "a", "x")
        again = await Hive.open(layout, runtime_reads_nix=False)
        try:
            assert not await again.proposals()
        finally:
            await again.close()
    assert (await hive.submit_spawn(manager, "a", "x")).n == 1


@pytest.mark.parametrize("objects", range(5))
async def test_a_crash_between_objects_of_a_proposal(
    hive: Hive, layout: Layout, monkeypatch: pytest.MonkeyPatch, objects: int
) -> None:
    """What is there is complete; what is asked again comes through."""
    manager = await manager_of(hive)
    written = 0
    rename = os.rename

    def crash(source: str, target: Path) -> None:
        nonlocal written
        if written == objects:
            raise Crash
        written += 1
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(loose.os, "rename", crash)
        with pytest.raises(Crash):
            await hive.submit_spawn(manager, "a", "x")
    found = git(layout.hive_git, "fsck", "--strict", "--unreachable", "--no-dangling").splitlines()
    assert not [line for line in found if not line.startswith("unreachable ")]
    again = await Hive.open(layout, runtime_reads_nix=False)
    try:
        assert not await again.proposals()
        digests = await opened(again, manager, 1)
        await again.approve(1, digests[1], "root")
        git(layout.hive_git, "fsck", "--strict")
    finally:
        await again.close()


def _crash(*_: object) -> None:
    raise Crash


async def test_stale_locks_of_a_killed_writer(hive: Hive, layout: Layout) -> None:
    manager = await manager_of(hive)
    digests = await opened(hive, manager, 1)
    await asyncio.to_thread((layout.hive_git / "refs/heads/applied.lock").touch)
    with pytest.raises(Busy, match=r"applied\.lock"):
        await hive.approve(1, digests[1], "root")
    again = await Hive.open(layout, runtime_reads_nix=False)
    try:
        await again.approve(1, digests[1], "root")
    finally:
        await again.close()
