"""What an untrusted requester may try. Nothing of it may stay in hive.git but the refusal."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.git_work import ENVIRONMENT, Clone, Write, git, spec_of
from support.hostile_commits import CORPUS, blob, tree_with
from support.proc import descendants

from hive_reconciler.git import importing
from hive_reconciler.git.errors import Refused
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.jailer import NOBODY
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout


@pytest.fixture
async def scout(hive: Hive, manager: Requester, clone: Clone) -> str:
    done = await hive.submit_spawn(manager, "scout", "looks around")
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    await hive.approve(done.n, effect.digest, "root")
    clone.pull()
    return "scout"


@pytest.mark.parametrize("name", CORPUS)
async def test_corpus(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, scout: str, name: str
) -> None:
    make, said = CORPUS[name]
    oid = await asyncio.to_thread(make, clone)
    before, there = await hive.read(), await asyncio.to_thread(contents, layout)
    recorded: set[str] = set()
    try:
        done = await hive.submit_commit(manager, scout, oid, "please", clone.fetch(oid))
        message = done.message
        recorded = {f"refs/tags/proposal/{done.n}", f"refs/tags/closed/{done.n}"}
        assert done.state == "rejected", message
        proposal = await hive.proposal(done.n)
        assert (proposal.state, proposal.reason) == ("rejected", message)
        assert proposal.pinned.commit == before.commit
    except Refused as refused:
        message = refused.message
    assert_matches(said, message)
    assert message.isprintable()
    assert await hive.read() == before
    await asyncio.to_thread(assert_no_trace, layout, oid)
    now = await asyncio.to_thread(contents, layout)
    refs = now.refs - there.refs
    assert {ref for ref, _ in refs} == recorded
    assert now.objects - there.objects == {f"{tag} tag" for _, tag in refs}


PUSHED = (
    *("symlink", "submodule", "gitattributes", "gitmodules", "dot git", "GIT~1", "odd mode"),
    *("escape in a name", "binary", "bidi", "large file", "case collision", "150 files"),
    *("50,000 files", "tree bomb", "unrelated", "long history", "second manager", "other uid"),
)


@pytest.mark.parametrize("name", PUSHED)
async def test_the_same_by_a_push(
    hive: Hive, clone: Clone, layout: Layout, scout: str, name: str
) -> None:
    """Where git itself lets it into inbox.git, as it does for whoever writes files there."""
    make, said = CORPUS[name]
    oid = await asyncio.to_thread(make, clone)
    git(layout.inbox_git, "config", "transfer.fsckObjects", "false")
    target = f"{oid}:refs/heads/proposed/x"
    await asyncio.to_thread(git, clone.path, "push", "-q", str(layout.inbox_git), target)
    before, there = await hive.read(), await asyncio.to_thread(contents, layout)
    (done,) = await hive.import_inbox()
    assert done.state == "rejected"
    assert_matches(said, done.message)
    assert await hive.read() == before
    now = await asyncio.to_thread(contents, layout)
    refs = now.refs - there.refs
    assert {ref for ref, _ in refs} == {
        f"refs/tags/proposal/{done.n}",
        f"refs/tags/closed/{done.n}",
    }
    assert now.objects - there.objects == {f"{tag} tag" for _, tag in refs}
    assert await hive.import_inbox() == ()


@dataclass(frozen=True)
class Contents:
    """All that is in hive.git, reachable or not."""

    refs: frozenset[tuple[str, str]]
    objects: frozenset[str]  # "OID kind"


def contents(layout: Layout) -> Contents:
    refs = git(layout.hive_git, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    everything = ("--batch-all-objects", "--batch-check=%(objectname) %(objecttype)")
    objects = git(layout.hive_git, "cat-file", *everything).splitlines()
    pairs = (tuple(line.split(" ")) for line in refs)
    return Contents(frozenset((ref, oid) for ref, oid in pairs), frozenset(objects))


def assert_matches(pattern: str, text: str) -> None:
    assert re.search(pattern, text), text


def assert_no_trace(layout: Layout, oid: str) -> None:
    command = ["git", "-C", str(layout.hive_git), "cat-file", "-e", oid]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    git(layout.hive_git, "fsck", "--strict", "--connectivity-only")
    assert not list(layout.reconciler.glob("pack-*"))


def sends(data: bytes, oid: str) -> Callable[[tuple[str, ...], Write], Awaitable[str]]:
    async def fetch(have: tuple[str, ...], write: Write) -> str:
        for start in range(0, len(data), 65536):
            await write(data[start : start + 65536])
        return oid

    return fetch


async def test_bad_packs(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, scout: str
) -> None:
    good = clone.change("agents/scout/prompt.md", "x\n")
    tip = (await hive.tip(),)
    pack = clone.pack(good, tip)
    tree = git(clone.path, "rev-parse", f"{good}^{{tree}}")
    only_commit = subprocess.run(
        ["git", "-C", str(clone.path), "pack-objects", "-q", "--stdout"],
        input=good.encode() + b"\n",
        capture_output=True,
        check=True,
        env=ENVIRONMENT,
    ).stdout
    missing = "f" * 40
    there = await asyncio.to_thread(contents, layout)
    for data, oid, said in (
        (b"", good, "cannot be taken"),
        (b"garbage" * 100, good, "cannot be taken"),
        (pack[:-30], good, "cannot be taken"),
        (pack[:50] + b"\xff" + pack[51:], good, "cannot be taken"),
        (only_commit, good, "cannot be taken|not complete"),
        (pack, missing, "no commit"),
        (pack, tree, "no commit"),
        (b"x" * (importing.MAX_PACK + 1), good, "16 MiB|cannot be taken"),
    ):
        with pytest.raises(Refused) as caught:
            await hive.submit_commit(manager, scout, oid, "x", sends(data, oid))
        assert_matches(said, caught.value.message)
        assert_no_trace(layout, good)
    with pytest.raises(Refused, match="another commit"):
        await hive.submit_commit(manager, scout, "1234567", "x", sends(pack, good))
    for named in ("HEAD", "../x", "-x", "a" * 41, "abc", "--all"):
        with pytest.raises(Refused, match="no commit id"):
            await hive.submit_commit(manager, scout, named, "x", sends(pack, good))
    assert not [p for p in await hive.proposals() if p.state == "open"]
    assert await asyncio.to_thread(contents, layout) == there


async def test_pack_bomb(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, scout: str
) -> None:
    big = blob(clone, b"\0" * (100 << 20))
    oid = tree_with(clone, [("100644", "big.md", big)])
    pack = await asyncio.to_thread(clone.pack, oid, (await hive.tip(),))
    assert len(pack) < 1 << 20
    there = await asyncio.to_thread(contents, layout)
    with pytest.raises(Refused, match=r"limits|brings too much|cannot be taken"):
        await hive.submit_commit(manager, scout, oid, "x", sends(pack, oid))
    assert_no_trace(layout, oid)
    assert await asyncio.to_thread(contents, layout) == there


async def test_extra_objects_stay_outside(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, scout: str
) -> None:
    oid = clone.change("agents/scout/prompt.md", "x\n")
    extra = blob(clone, b"a secret passenger\n")
    names = git(clone.path, "rev-list", "--objects", oid, f"^{await hive.tip()}")
    wanted = [line.split()[0] for line in names.splitlines()] + [extra]
    pack = subprocess.run(
        ["git", "-C", str(clone.path), "pack-objects", "-q", "--stdout"],
        input="\n".join(wanted).encode() + b"\n",
        capture_output=True,
        check=True,
        env=ENVIRONMENT,
    ).stdout
    done = await hive.submit_commit(manager, scout, oid, "x", sends(pack, oid))
    assert done.state == "open"
    assert_no_trace(layout, extra)


@pytest.mark.parametrize("data", [b"", b"x"])
async def test_export_that_never_ends(
    hive: Hive,
    manager: Requester,
    layout: Layout,
    scout: str,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
) -> None:
    """Whether it stays silent or trickles on."""
    monkeypatch.setattr(importing, "SECONDS", 0.5)
    there = await asyncio.to_thread(contents, layout)

    async def fetch(have: tuple[str, ...], write: Write) -> str:
        await write(b"PACK")
        while True:
            await write(data)
            await asyncio.sleep(0.001)

    with pytest.raises(Refused, match=r"did not arrive|brings more than"):
        await hive.submit_commit(manager, scout, "a" * 40, "x", fetch)
    assert not list(layout.reconciler.glob("pack-*"))
    assert await asyncio.to_thread(contents, layout) == there


async def test_an_export_without_end_is_cut(hive: Hive, manager: Requester, scout: str) -> None:
    async def fetch(have: tuple[str, ...], write: Write) -> str:
        while True:
            await write(b"x" * 65536)

    with pytest.raises(Refused, match="16 MiB"):
        await hive.submit_commit(manager, scout, "a" * 40, "x", fetch)


async def test_fetch_errors_reach_the_caller(
    hive: Hive, manager: Requester, layout: Layout, scout: str
) -> None:
    async def fetch(have: tuple[str, ...], write: Write) -> str:
        raise ConnectionError("the harness is away")

    with pytest.raises(ConnectionError):
        await hive.submit_commit(manager, scout, "a" * 40, "x", fetch)
    assert not list(layout.reconciler.glob("pack-*"))


async def test_refusals_are_not_recorded_without_end(
    hive: Hive, manager: Requester, scout: str
) -> None:
    for _ in range(20):
        done = await hive.submit_spawn(manager, "x", "x", prompt="\x1b")
        assert done.state == "rejected"
    with pytest.raises(Exception, match="refused within the hour"):
        await hive.submit_spawn(manager, "x", "x", prompt="\x1b")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
async def test_index_pack_runs_as_nobody(
    hive: Hive, manager: Requester, clone: Clone, scout: str, tmp_path: Path
) -> None:
    """Also where the directories above the root are closed to everybody else."""
    tmp_path.chmod(0o700)
    seen: list[int] = []
    oid = clone.change("agents/scout/prompt.md", "x\n")
    pack = clone.pack(oid, (await hive.tip(),))

    async def fetch(have: tuple[str, ...], write: Write) -> str:
        await write(pack[:20])
        async with asyncio.timeout(10):
            while not seen:
                seen.extend(await asyncio.to_thread(uids_of, "index-pack"))
                await asyncio.sleep(0.01)
        await write(pack[20:])
        return oid

    assert (await hive.submit_commit(manager, scout, oid, "x", fetch)).state == "open"
    assert set(seen) == {NOBODY}
    assert (await spec_of(hive, "scout")).prompt != "x\n"


def uids_of(word: str) -> list[int]:
    """The uids of descendants of this process that run a command with `word`."""
    return [process.uid for process in descendants(os.getpid()) if word in process.command]
