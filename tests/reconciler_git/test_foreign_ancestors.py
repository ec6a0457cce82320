"""Commits that say they took in a proposal which is not applied yet, and did not. Once it is
applied they are merged as what undoes it."""

from __future__ import annotations

import asyncio

import pytest
from support.git_work import Clone, approve, git, spawned

from hive_reconciler.git.errors import Refused
from hive_reconciler.git.hive import Hive
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout


@pytest.fixture
async def scout(hive: Hive, user: Requester, clone: Clone) -> str:
    await spawned(hive, user, "scout")
    await asyncio.to_thread(clone.pull)
    return "scout"


def passing_over(clone: Clone, layout: Layout, n: int) -> str:
    """A merge of what is checked out with the commit of proposal `n`, and nothing of it."""
    git(clone.path, "fetch", "-q", str(layout.hive_git), f"refs/tags/proposal/{n}")
    git(clone.path, "merge", "-q", "-s", "ours", "--no-ff", "-m", "x", "FETCH_HEAD")
    return git(clone.path, "rev-parse", "HEAD")


async def pushed(hive: Hive, clone: Clone, layout: Layout) -> int:
    target = "HEAD:refs/heads/proposed/x"
    await asyncio.to_thread(git, clone.path, "push", "-q", "-f", str(layout.inbox_git), target)
    (done,) = await hive.import_inbox()
    assert done.state == "open", done.message
    return done.n


async def assert_refused(hive: Hive, n: int, said: str) -> None:
    problems = (await hive.proposal(n)).problems
    assert any(said in problem for problem in problems), problems
    tip = await hive.tip()
    with pytest.raises(Refused, match=said):
        await approve(hive, n)
    assert await hive.tip() == tip


async def test_an_agent_undoes_no_change_of_the_policy(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, scout: str
) -> None:
    start = await hive.tip()
    clone.change("hive.toml", clone.read("hive.toml").replace('"8G"', '"4G"'), "Less memory")
    policy = await pushed(hive, clone, layout)
    git(clone.path, "reset", "-q", "--hard", start)
    clone.change("agents/scout/prompt.md", "Look.\n")
    oid = await asyncio.to_thread(passing_over, clone, layout, policy)
    done = await hive.submit_commit(manager, scout, oid, "x", clone.fetch(oid))
    assert done.state == "open", done.message
    await approve(hive, policy)
    await assert_refused(hive, done.n, "hive.toml: is outside agents/scout/")


async def test_nobody_comes_back_as_a_new_agent(
    hive: Hive, manager: Requester, user: Requester, clone: Clone, layout: Layout, scout: str
) -> None:
    """With the state, session and mail of the one that was retired."""
    retire = await hive.submit_retire(user, scout)
    clone.change("agents/scout/prompt.md", "Look.\n")
    oid = await asyncio.to_thread(passing_over, clone, layout, retire.n)
    done = await hive.submit_commit(manager, scout, oid, "x", clone.fetch(oid))
    assert done.state == "open", done.message
    await approve(hive, retire.n)
    await assert_refused(hive, done.n, "has the uid of scout, which is gone since then")


async def test_nobody_comes_back_under_a_new_name(
    hive: Hive, user: Requester, clone: Clone, layout: Layout, scout: str
) -> None:
    retire = await hive.submit_retire(user, scout)
    git(clone.path, "mv", "agents/scout", "agents/spy")
    clone.commit("Rename scout")
    await asyncio.to_thread(passing_over, clone, layout, retire.n)
    rename = await pushed(hive, clone, layout)
    await approve(hive, retire.n)
    await assert_refused(hive, rename, "has the uid of scout, which is gone since then")


async def test_who_took_it_in_is_merged(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, scout: str
) -> None:
    """What was built on a proposal of the same agent goes on after that one is applied."""
    first = clone.change("agents/scout/prompt.md", "Look.\n")
    begun = await hive.submit_commit(manager, scout, first, "x", clone.fetch(first))
    clone.change("agents/scout/agent.nix", "{ }\n")
    later = await pushed(hive, clone, layout)
    await approve(hive, begun.n)
    await approve(hive, later)
    clone.pull()
    assert clone.read("agents/scout/prompt.md") == "Look.\n"
    assert clone.read("agents/scout/agent.nix") == "{ }\n"
