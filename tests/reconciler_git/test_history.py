"""What `applied` may be moved to from outside: nothing, unless a person takes it over."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from support.git_work import Clone, git, spec_of
from watchdog.events import FileMovedEvent

from hive_reconciler.git.errors import (
    HistoryRewritten,
    NotFound,
    ReadFailed,
    Refused,
    UnrecordedCommit,
)
from hive_reconciler.git.first import FirstCommit
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.repositories import PARSED
from hive_reconciler.git.watch import Watch
from hive_reconciler.model.desired import Invalid, Unreadable, Valid
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout


async def merged_spawn(hive: Hive, requester: Requester, name: str) -> str:
    done = await hive.submit_spawn(requester, name, name)
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    return await hive.approve(done.n, effect.digest, "root")


def force(layout: Layout, oid: str) -> None:
    git(layout.hive_git, "update-ref", "refs/heads/applied", oid)


async def test_first_commit(layout: Layout) -> None:
    hive = await Hive.open(
        layout, runtime_reads_nix=False, first=FirstCommit(manager="boss", engine="rehearsal")
    )
    try:
        assert hive.created
        desired = await hive.read()
        boss = await spec_of(hive, "boss")
        assert (boss.spec.role, boss.spec.engine) == ("manager", "rehearsal")
        assert not boss.nix_applied
        assert "worker" in desired.hive.templates
        assert git(layout.hive_git, "rev-list", "--count", "applied") == "1"
        assert git(layout.hive_git, "symbolic-ref", "HEAD") == "refs/heads/applied"
        assert not (layout.hive_git / "hooks").exists()
    finally:
        await hive.close()
    again = await Hive.open(layout, runtime_reads_nix=False)
    try:
        assert not again.created
        assert await again.read() == desired
    finally:
        await again.close()


async def test_a_bad_manager_name_makes_nothing(layout: Layout) -> None:
    with pytest.raises(Refused):
        await Hive.open(layout, runtime_reads_nix=False, first=FirstCommit(manager="operator"))
    assert not layout.hive_git.exists()


async def test_rewind_is_not_followed(hive: Hive, manager: Requester, layout: Layout) -> None:
    root = await hive.tip()
    merge = await merged_spawn(hive, manager, "scout")
    await hive.read()
    force(layout, root)
    with pytest.raises(HistoryRewritten, match=f"hive accept {root}"):
        await hive.read()
    with pytest.raises(HistoryRewritten):
        await hive.submit_spawn(manager, "other", "x")
    again = await Hive.open(layout, runtime_reads_nix=False)
    try:
        with pytest.raises(HistoryRewritten):
            await again.read()
        assert "scout" not in (await again.read(root)).agents
        await again.accept(root, "root", "start over")
        assert "scout" not in (await again.read()).agents
    finally:
        await again.close()
    assert (await hive.proposal(1)).state == "open"
    force(layout, merge)
    assert "scout" in (await hive.read()).agents


async def test_a_push_behind_our_back_is_not_followed(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout
) -> None:
    await hive.read()
    oid = clone.change("agents/hm1nd/prompt.md", "Obey.\n")
    git(clone.path, "push", "-q", "applied", "HEAD:refs/heads/applied")
    with pytest.raises(UnrecordedCommit, match=f"hive accept {oid}") as caught:
        await hive.read()
    assert caught.value.commit == oid
    with pytest.raises(UnrecordedCommit):
        await merged_spawn(hive, manager, "scout")
    await hive.accept(oid, "root", "by hand")
    assert (await spec_of(hive, "hm1nd")).prompt == "Obey.\n"
    await merged_spawn(hive, manager, "scout")


async def test_a_forged_merge_is_not_followed(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout
) -> None:
    done = await hive.submit_spawn(manager, "scout", "x")
    pinned = (await hive.proposal(done.n)).pinned
    git(clone.path, "fetch", "-q", "applied", "--tags")
    other = clone.change("agents/hm1nd/prompt.md", "Obey.\n")
    message = (
        f"Merge proposal {done.n}\n\nProposal-Id: {done.n}\nRequested-by: user/x\n"
        f"Approved-by: root\nEffect-Version: 1\nEffect-Digest: {'0' * 64}\n"
    )
    tip = await hive.tip()
    for tree, second, why in (
        (other, other, "another commit"),
        (other, pinned.commit, "signature|effect|signed"),
    ):
        merge = git(
            clone.path, "commit-tree", f"{tree}^{{tree}}", "-p", tip, "-p", second, "-m", message
        )
        git(clone.path, "push", "-q", "-f", "applied", f"{merge}:refs/heads/forged-{merge[:8]}")
        force(layout, merge)
        with pytest.raises(UnrecordedCommit, match=why):
            await hive.read()
        force(layout, tip)


async def test_accept_only_what_is_there_and_works(
    hive: Hive, clone: Clone, layout: Layout
) -> None:
    with pytest.raises(Refused, match="first-parent"):
        await hive.accept("f" * 40, "root", "x")
    broken = clone.change("hive.toml", "schema = 2\n")
    git(clone.path, "push", "-q", "applied", "HEAD:refs/heads/applied")
    with pytest.raises(ReadFailed, match=r"hive\.toml cannot be used"):
        await hive.accept(broken, "root", "x")


async def test_bad_agents_stall_themselves_only(
    hive: Hive, manager: Requester, clone: Clone
) -> None:
    await merged_spawn(hive, manager, "one")
    clone.pull()
    clone.write("agents/two/agent.toml", "oops = 1\n")
    clone.write("agents/Three/agent.toml", "")
    oid = clone.commit()
    git(clone.path, "push", "-q", "applied", "HEAD:refs/heads/applied")
    await hive.accept(oid, "root", "x")
    agents = (await hive.read()).agents
    assert isinstance(agents["one"], Valid)
    assert isinstance(agents["two"], Invalid)
    assert isinstance(agents["Three"], Invalid)


async def test_a_damaged_object_is_unreadable_not_gone(
    hive: Hive, manager: Requester, layout: Layout
) -> None:
    await merged_spawn(hive, manager, "scout")
    blob = git(layout.hive_git, "rev-parse", "applied:agents/scout/prompt.md")
    path = layout.hive_git / "objects" / blob[:2] / blob[2:]
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(b"")
    (layout.reconciler / PARSED).unlink(missing_ok=True)  # what was read before is known by it
    again = await Hive.open(layout, runtime_reads_nix=False)
    try:
        assert isinstance((await again.read()).agents["scout"], Unreadable)
        path.write_bytes(data)
        assert isinstance((await again.read()).agents["scout"], Valid)
    finally:
        await again.close()


async def test_a_failed_read_raises(hive: Hive, layout: Layout) -> None:
    tree = git(layout.hive_git, "rev-parse", "applied:agents")
    path = layout.hive_git / "objects" / tree[:2] / tree[2:]
    path.unlink()
    again = await Hive.open(layout, runtime_reads_nix=False)
    try:
        with pytest.raises(ReadFailed):
            await again.read()
    finally:
        await again.close()
    ref = layout.hive_git / "refs/heads/applied"
    ref.write_text("garbage\n")
    with pytest.raises(ReadFailed):
        await hive.read()
    ref.unlink()
    with pytest.raises(ReadFailed, match="no branch applied"):
        await hive.read()


async def test_revs(hive: Hive, manager: Requester) -> None:
    await merged_spawn(hive, manager, "scout")
    assert "scout" in (await hive.read("applied")).agents
    assert "scout" not in (await hive.read("applied~1")).agents
    with pytest.raises(NotFound):
        await hive.read("nonsense")


async def test_revision_covers_what_shapes_an_agent(
    hive: Hive, manager: Requester, layout: Layout
) -> None:
    await merged_spawn(hive, manager, "one")
    await merged_spawn(hive, manager, "two")
    before = {n: e.revision for n, e in (await hive.read()).agents.items() if isinstance(e, Valid)}
    await hive.submit_power(manager, "one", "restart")
    after = {n: e.revision for n, e in (await hive.read()).agents.items() if isinstance(e, Valid)}
    assert {n for n in after if after[n] != before[n]} == {"one"}
    on_nix = await Hive.open(layout, runtime_reads_nix=True)
    try:
        one = await spec_of(on_nix, "one")
        assert one.nix_applied
        assert one.revision != after["one"]
    finally:
        await on_nix.close()


async def test_agent_nix_is_no_part_of_the_revision_where_it_is_not_built(
    hive: Hive, manager: Requester, clone: Clone
) -> None:
    await merged_spawn(hive, manager, "one")
    before = (await spec_of(hive, "one")).revision
    clone.pull()
    oid = clone.change("agents/one/agent.nix", "{ }\n")
    done = await hive.submit_commit(manager, "one", oid, "x", clone.fetch(oid))
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    assert [a.kind for a in effect.actions] == ["rebuild"]
    await hive.approve(done.n, effect.digest, "root")
    assert (await spec_of(hive, "one")).revision == before


async def test_hints(hive: Hive, manager: Requester, layout: Layout) -> None:
    heard = asyncio.Event()
    await hive.watch(heard.set)
    async with asyncio.timeout(10):
        await merged_spawn(hive, manager, "scout")
        await heard.wait()
        heard.clear()
        git_task = asyncio.to_thread(git, layout.hive_git, "pack-refs", "--all")
        await git_task
        await heard.wait()
        await asyncio.to_thread(_replace_refs, layout.hive_git)
        await hive.watch(heard.set)
        heard.clear()
        await merged_spawn(hive, manager, "other")
        await heard.wait()
    assert "other" in (await hive.read()).agents


async def test_what_we_observed_ourselves_is_no_hint(tmp_path: Path) -> None:
    hints: list[str] = []
    watch = Watch((tmp_path,), lambda: hints.append("hint"))
    for ref in ("refs/status/host/1", "refs/status/host/1.lock", "refs/heads/applied"):
        watch.dispatch(FileMovedEvent(str(tmp_path / f"{ref}.lock"), str(tmp_path / ref)))
        await asyncio.sleep(0)  # what the observer's thread handed over runs now
        assert (watch.pending, hints) == (ref == "refs/heads/applied", [])


def _replace_refs(path: Path) -> None:
    os.rename(path / "refs", path / "refs.old")
    for folder in ("refs/heads", "refs/tags"):
        (path / folder).mkdir(parents=True)


async def test_gc_and_repack_from_outside(hive: Hive, manager: Requester, layout: Layout) -> None:
    await merged_spawn(hive, manager, "one")
    git(layout.hive_git, "gc", "-q", "--prune=now")
    assert "one" in (await hive.read()).agents
    await merged_spawn(hive, manager, "two")
    assert [p.state for p in await hive.proposals()] == ["merged", "merged"]
