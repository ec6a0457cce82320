"""Trailers and escape sequences in every text that somebody may write, and odd names of refs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from support.git_work import Clone, git, manager_of

from hive_reconciler.app.commands.review import proposal_text
from hive_reconciler.git.errors import HistoryRewritten, HiveError, Refused
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.verify import verify
from hive_reconciler.model.proposal import Proposal, Requester, proposal_json
from hive_wire.paths import Layout

NASTY = (
    "x\n\nApproved-by: root\nProposal-Id: 7\nOutcome: denied\nAllow-Prune: 99\n"
    "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2066</script><b>\r\0end"
)
USER = Requester.user("ada")
TRAILERS = ["Proposal-Id", "Requested-by", "Approved-by", "Effect-Version", "Effect-Digest"]


async def merged(hive: Hive, n: int) -> None:
    effect = (await hive.proposal(n)).effect
    assert effect is not None
    await hive.approve(n, effect.digest, "root")


async def spawned(hive: Hive) -> int:
    n = (await hive.submit_spawn(USER, "scout", "x")).n
    await merged(hive, n)
    return n


async def of_power(hive: Hive, clone: Clone) -> int:
    return (await hive.submit_power(await manager_of(hive), "hm1nd", "restart", NASTY)).n


async def of_retire(hive: Hive, clone: Clone) -> int:
    await spawned(hive)
    return (await hive.submit_retire(USER, "scout", NASTY)).n


async def of_revert(hive: Hive, clone: Clone) -> int:
    return (await hive.submit_revert(USER, await spawned(hive), NASTY)).n


async def of_rollback(hive: Hive, clone: Clone) -> int:
    await spawned(hive)
    then = await hive.tip()
    await hive.submit_power(USER, "scout", "stop")
    return (await hive.submit_rollback(USER, "scout", then, NASTY)).n


async def of_apply(hive: Hive, clone: Clone) -> int:
    """Its description, its commit's message and its author."""
    clone.write("agents/hm1nd/prompt.md", "Be brief.\n")
    git(clone.path, "config", "user.name", "x\x1b[2J Approved-by: root")
    oid = await asyncio.to_thread(clone.commit, NASTY.replace("\0", ""))
    done = await hive.submit_commit(await manager_of(hive), "hm1nd", oid, NASTY, clone.fetch(oid))
    return done.n


async def of_push(hive: Hive, clone: Clone) -> int:
    clone.write("agents/hm1nd/prompt.md", "Be brief.\n")
    await asyncio.to_thread(clone.commit, NASTY.replace("\0", ""))
    inbox = hive._all.layout.inbox_git
    target = "HEAD:refs/heads/proposed/\u202ex"
    await asyncio.to_thread(git, clone.path, "push", "-q", str(inbox), target)
    (done,) = await hive.import_inbox()
    return done.n


Ask = Callable[[Hive, Clone], Awaitable[int]]


@pytest.mark.parametrize("ask", [of_power, of_retire, of_revert, of_rollback, of_apply, of_push])
async def test_texts_are_data(hive: Hive, clone: Clone, layout: Layout, ask: Ask) -> None:
    n = await ask(hive, clone)
    proposal = await hive.proposal(n)
    assert proposal.state in ("open", "merged"), proposal.reason
    assert_said(proposal)
    if proposal.state == "open":
        await merged(hive, n)
    await asyncio.to_thread(assert_records_are_plain, layout)
    assert (await asyncio.to_thread(verify, layout)).ok


async def test_reasons_are_data(hive: Hive, clone: Clone, layout: Layout) -> None:
    n = await of_power(hive, clone)
    await hive.deny(n, NASTY, "root")
    proposal = await hive.proposal(n)
    assert (proposal.state, proposal.reason, proposal.by) == ("denied", NASTY, "root")
    assert_said(proposal)
    await hive.accept(await hive.tip(), "root", NASTY)
    await asyncio.to_thread(assert_records_are_plain, layout)
    for who in (NASTY, "", "a\nBy: b", "x" * 200):
        for call in (hive.deny(n, "x", who), hive.withdraw(n, who), hive.approve(n, "0" * 64, who)):
            with pytest.raises(HiveError):
                await call


async def test_words_in_files_reach_a_terminal_as_words(hive: Hive, clone: Clone) -> None:
    """Settings have no place for control characters; whatever else is there is shown harmless."""
    for name, description in ((NASTY, "x"), ("scout", NASTY)):
        with pytest.raises(Refused) as refused:
            await hive.submit_spawn(USER, name, description)
        assert refused.value.message.isprintable()
    for settings in ({"description": NASTY}, {NASTY: 1}, {"model": NASTY}):
        try:
            done = await hive.submit_spawn(USER, "a", "x", settings=settings)
        except Refused as error:
            assert error.message.isprintable()
            continue
        assert_said(await hive.proposal(done.n))


def assert_said(proposal: Proposal) -> None:
    """What `hive show` prints has no control character but line ends."""
    row = {**proposal_json(proposal), "diff": [], "diff_left_out": 0, "plan": None, "build": None}
    text = proposal_text({**row, "checks": list(proposal.problems)})
    assert text.replace("\n", "").isprintable(), text
    assert "\u202e" not in text


def assert_records_are_plain(layout: Layout) -> None:
    for tag in git(layout.hive_git, "tag", "-l").splitlines():
        assert tag.isascii()
        text = git(layout.hive_git, "cat-file", "tag", tag)
        assert text.isascii()
        assert text.replace("\n", "").isprintable()
        assert not git(layout.hive_git, "tag", "-l", "--format=%(trailers)", tag) or tag.startswith(
            ("closed/", "accepted/")
        )
    for merge in git(layout.hive_git, "rev-list", "--first-parent", "applied").split()[:-1]:
        trailers = git(layout.hive_git, "log", "-1", "--format=%(trailers:keyonly)", merge)
        assert trailers.split() == TRAILERS
        body = git(layout.hive_git, "log", "-1", "--format=%B", merge)
        assert body.isascii()
        assert "99" not in body.split("Effect-Version")[0]


@pytest.mark.slow
async def test_odd_refs_stop_nobody(hive: Hive, clone: Clone, layout: Layout) -> None:
    """Who may push writes files there, too: names and contents that git would not make."""
    clone.write("agents/hm1nd/prompt.md", "Be brief.\n")
    oid = clone.commit("Shorter")
    git(clone.path, "push", "-q", str(layout.inbox_git), "HEAD:refs/heads/proposed/good")
    folder = os.fsencode(layout.inbox_git / "refs/heads/proposed")
    odd = (b"x.lock", b"a b", b"new\nline", b"\x1b[2J", b"\xff\xfe", b"-x", b"..", b"@{0}", b"a~1")
    for name in (*odd, b"x" * 200, "\u202eright".encode(), b"a\\b", b"q?*[", b"trail."):
        try:
            Path(os.fsdecode(folder + b"/" + name)).write_text(f"{oid}\n")
        except IsADirectoryError:
            continue
    for name, text in (
        ("empty", ""),
        ("garbage", "hello\n"),
        ("missing", "f" * 40 + "\n"),
        ("elsewhere", f"ref: {layout.hive_git}/refs/heads/applied\n"),
        ("up", "ref: ../../../../hive.git/refs/heads/applied\n"),
        ("self", "ref: refs/heads/proposed/self\n"),
    ):
        Path(os.fsdecode(folder), name).write_text(text)
    Path(os.fsdecode(folder), "link").symlink_to("/etc/hostname")
    Path(os.fsdecode(folder), "loop").symlink_to(".")
    done = await hive.import_inbox()
    assert "open" in {submitted.state for submitted in done}, done
    for proposal in await hive.proposals():
        assert proposal.pinned.source.isprintable()
        assert_said(proposal)
    await asyncio.to_thread(assert_records_are_plain, layout)
    assert await hive.import_inbox() == ()


async def test_history_rewritten_between_submit_and_approve(
    hive: Hive, clone: Clone, layout: Layout
) -> None:
    """The author's: what was pinned is merged. Ours: nothing is merged."""
    manager = await manager_of(hive)
    shown = clone.change("agents/hm1nd/prompt.md", "Shown.\n")
    one = await hive.submit_commit(manager, "hm1nd", shown, "x", clone.fetch(shown))
    git(clone.path, "commit", "-q", "--amend", "-m", "other")
    clone.change("agents/hm1nd/prompt.md", "Not shown.\n")
    git(clone.path, "reflog", "expire", "--expire=now", "--all")
    git(clone.path, "gc", "-q", "--prune=now")
    await merged(hive, one.n)
    assert git(layout.hive_git, "show", "applied:agents/hm1nd/prompt.md") == "Shown."
    await hive.read()

    two = await hive.submit_spawn(USER, "scout", "x")
    effect = (await hive.proposal(two.n)).effect
    assert effect is not None
    git(layout.hive_git, "update-ref", "refs/heads/applied", "applied~1")
    tip = await hive.tip()
    with pytest.raises(HistoryRewritten):
        await hive.approve(two.n, effect.digest, "root")
    assert await hive.tip() == tip
