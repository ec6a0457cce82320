"""Going back: revert, revive, rollback; what ends or stops proposals: expiry, freeze."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.git_work import Clone, Push, approve, git, spawned, spec_of

from hive_reconciler.git import decide
from hive_reconciler.git.errors import Conflict, NotFound, Refused
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.verify import verify
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout


async def test_freeze(hive: Hive, manager: Requester, clone: Clone, push: Push) -> None:
    await spawned(hive, manager, "scout")
    waiting = await hive.submit_spawn(manager, "other", "x")
    clone.pull()
    thawed = clone.read("hive.toml")
    clone.change("hive.toml", thawed.replace("[policy]\n", "[policy]\nfreeze = true\n"))
    push("freeze")
    (done,) = await hive.import_inbox()
    await approve(hive, done.n)
    with pytest.raises(Refused, match="frozen"):
        await approve(hive, waiting.n)
    power = await hive.submit_power(manager, "scout", "restart")
    assert power.state == "open"
    own = await hive.submit_power(Requester.user("ada"), "scout", "stop")
    assert (own.state, "frozen" in own.message) == ("open", True)
    clone.pull()
    clone.change("hive.toml", thawed)
    push("thaw")
    (done,) = await hive.import_inbox()
    await approve(hive, done.n)
    await approve(hive, waiting.n)


async def test_expiry(hive: Hive, manager: Requester, monkeypatch: pytest.MonkeyPatch) -> None:
    done = await hive.submit_spawn(manager, "scout", "x")
    assert not await hive.sweep()
    now = time.time()
    monkeypatch.setattr(decide.time, "time", lambda: now + 31 * 86400)
    (ended,) = await hive.sweep()
    assert (ended.n, ended.state) == (done.n, "expired")
    assert not await hive.sweep()
    assert (await hive.proposal(done.n)).state == "expired"


async def test_a_revert_can_be_looked_at_again_and_again(
    hive: Hive, manager: Requester, user: Requester
) -> None:
    """In a large swarm the trees of a look are soon not in memory any more."""
    n = await spawned(hive, manager, "scout")
    await spawned(hive, manager, "cook")
    back = await hive.submit_revert(user, n)
    await spawned(hive, manager, "guide")  # so that its merge is in no repository
    first = await hive.proposal(back.n)
    assert first.effect is not None
    hive._all.trees._cache.clear()
    hive._all.trees._compared.clear()
    assert await hive.proposal(back.n) == first
    await approve(hive, back.n)


async def test_revert(hive: Hive, manager: Requester, user: Requester, clone: Clone) -> None:
    n = await spawned(hive, manager, "scout")
    uid = (await spec_of(hive, "scout")).spec.uid
    clone.pull()
    oid = clone.change("agents/scout/prompt.md", "Better.\n")
    done = await hive.submit_commit(manager, "scout", oid, "x", clone.fetch(oid))
    merge = await approve(hive, done.n)
    back = await hive.submit_revert(user, merge[:10])
    assert back.state == "open"
    assert (await hive.proposal(back.n)).pinned.kind == "revert"
    await approve(hive, back.n)
    assert (await spec_of(hive, "scout")).prompt != "Better.\n"

    gone = await hive.submit_revert(user, n)
    await approve(hive, gone.n)
    assert "scout" not in (await hive.read()).agents
    assert await hive.retired() == (), "nothing of it was ever on the disk"
    for back in (hive.submit_revive(user, "scout"), hive.submit_revert(user, gone.n)):
        with pytest.raises(Refused, match="nothing is kept of scout"):
            await back
    with pytest.raises(Refused, match="nothing is kept of scout"):
        await hive.submit_rollback(user, "scout", merge)
    hive._all.layout.agent(uid).mkdir(parents=True)
    (kept,) = await hive.retired()
    assert (kept.name, kept.uid) == ("scout", uid)
    assert kept.description == "scout"
    assert await hive.retired(uid) == (), "nobody is behind the last one"
    with pytest.raises(Conflict):
        await hive.retired("f" * 12)
    again = await hive.submit_revive(user, "scout")
    await approve(hive, again.n)
    scout = await spec_of(hive, "scout")
    assert scout.spec.uid == uid
    assert await hive.retired() == ()

    with pytest.raises(Refused, match="nothing is to be revived"):
        await hive.submit_revive(user, "scout")
    with pytest.raises(NotFound):
        await hive.submit_revive(user, "never")
    with pytest.raises(NotFound):
        await hive.submit_revert(user, "f" * 40)
    open_one = await hive.submit_spawn(manager, "more", "x")
    with pytest.raises(Refused, match="only merged ones"):
        await hive.submit_revert(user, open_one.n)


async def test_nobody_comes_back_who_was_purged_before_the_approval(
    hive: Hive, user: Requester, layout: Layout
) -> None:
    await spawned(hive, user, "scout")
    home = layout.agent((await spec_of(hive, "scout")).spec.uid or "")
    home.mkdir(parents=True)
    await approve(hive, (await hive.submit_retire(user, "scout")).n)
    back = await hive.submit_revive(user, "scout")
    home.rmdir()
    (problem,) = (await hive.proposal(back.n)).problems
    assert problem.startswith("nothing is kept of scout")
    with pytest.raises(Refused, match="nothing is kept of scout"):
        await approve(hive, back.n)
    home.mkdir()
    await approve(hive, back.n)


async def test_reverts_about_the_swarm_leave_each_other_open(
    hive: Hive, user: Requester, clone: Clone, push: Push
) -> None:
    merges = []
    for path, text in (("README.md", "Ours.\n"), ("modules/a.nix", "{ }\n")):
        clone.pull()
        clone.change(path, text)
        push(path[0])
        (done,) = await hive.import_inbox()
        merges.append(await approve(hive, done.n))
    reverts = [(await hive.submit_revert(user, merge)).n for merge in merges]
    assert [(await hive.proposal(n)).state for n in reverts] == ["open", "open"]
    await hive.submit_revert(user, merges[0])
    assert [(await hive.proposal(n)).state for n in reverts] == ["superseded", "open"]


async def test_revert_of_what_changed_since(
    hive: Hive, manager: Requester, user: Requester, clone: Clone
) -> None:
    n = await spawned(hive, manager, "scout")
    clone.pull()
    oid = clone.change("agents/scout/prompt.md", "Better.\n")
    done = await hive.submit_commit(manager, "scout", oid, "x", clone.fetch(oid))
    await approve(hive, done.n)
    with pytest.raises(Refused, match=r"prompt\.md changed since then"):
        await hive.submit_revert(user, n)


async def test_auto_revert_is_the_policys(
    hive: Hive, manager: Requester, clone: Clone, push: Push, layout: Layout
) -> None:
    n = await spawned(hive, manager, "scout")
    assert await hive.auto_revert(n, "it never said hello") is None
    clone.pull()
    text = clone.read("hive.toml").replace("[policy]\n", "[policy]\nauto_revert = true\n")
    clone.change("hive.toml", text)
    push("auto")
    (done,) = await hive.import_inbox()
    await approve(hive, done.n)
    reverted = await hive.auto_revert(n, "it never said hello")
    assert reverted is not None
    assert "scout" not in (await hive.read()).agents
    proposal = await hive.proposal(reverted.n)
    assert (proposal.state, proposal.by[:19]) == ("merged", "policy/auto_revert@")
    assert await hive.auto_revert(reverted.n, "it failed, too") is None
    assert (await asyncio.to_thread(verify, layout)).ok


async def test_rollback_of_one_agent(
    hive: Hive, manager: Requester, user: Requester, clone: Clone
) -> None:
    await spawned(hive, manager, "scout")
    then = await hive.tip()
    clone.pull()
    for text in ("One.\n", "Two.\n"):
        oid = clone.change("agents/scout/prompt.md", text)
        done = await hive.submit_commit(manager, "scout", oid, "x", clone.fetch(oid))
        await approve(hive, done.n)
    before = await hive.read("applied~2")
    back = await hive.submit_rollback(user, "scout", then)
    await approve(hive, back.n)
    assert (await hive.read()).agents == before.agents
    with pytest.raises(NotFound):
        await hive.submit_rollback(user, "scout", await asyncio.to_thread(_root, hive))


def _root(hive: Hive) -> str:
    return git(
        hive._all.layout.hive_git, "rev-list", "--max-parents=0", "--first-parent", "applied"
    )
