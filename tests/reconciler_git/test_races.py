"""Many deciders at once, in one process and in several: one outcome each, nothing lost."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest
from support.git_work import Clone, git, manager_of

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


@pytest.mark.slow
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


@pytest.mark.slow
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
    sign = hive._all.key.sign

    def move_first(text: bytes) -> str:
        git(layout.hive_git, "update-ref", "refs/heads/applied", other)
        return sign(text)

    monkeypatch.setattr(hive._all.key, "sign", move_first)
    with pytest.raises(Conflict, match="moved"):
        await hive.approve(1, digests[1], "root")
    assert await hive.tip() == other
    assert (await hive.proposal(1)).state == "open"


async def test_a_lock_that_another_program_holds_for_a_moment_is_waited_for(
    hive: Hive, layout: Layout
) -> None:
    """`git pack-refs` locks each ref that it packs."""
    manager = await manager_of(hive)
    digests = await opened(hive, manager, 1)
    lock = layout.hive_git / "refs/heads/applied.lock"
    await asyncio.to_thread(lock.touch)
    merging = asyncio.create_task(hive.approve(1, digests[1], "root"))
    while not list((layout.hive_git / "refs").rglob("applied.lock")):
        await asyncio.sleep(0)
    await asyncio.to_thread(lock.unlink)
    assert await hive.tip() == await merging


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
