"""What an untrusted requester may try. Nothing of it may stay in hive.git but the refusal."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from support.git_work import ENVIRONMENT, Clone, Write, git, spec_of
from support.hostile_commits import CORPUS, blob, commit_tree, raw, tree_with
from support.packs import BLOB, blob_id, copy, delta, ofs_delta, ref_delta, sealed, whole
from support.packs import pack as made
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
    *(
        "50,000 files",
        "tree bomb",
        "deep folders",
        "unrelated",
        "long history",
        "second manager",
        "other uid",
    ),
)


@pytest.mark.slow
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


def crafted(clone: Clone, tip: str) -> dict[str, Callable[[], tuple[bytes, str]]]:
    """Packs that git does not write, about a commit that would be fine, and what is said."""
    good = clone.change("agents/scout/prompt.md", "x\n")
    pack = clone.pack(good, (tip,))
    body = pack[:-20]
    blob_of = whole(BLOB, b"x")
    change = delta(1, 1, [copy(0, 1)])
    large = bytes(0xFFFFF)
    grown = delta(0xFFFFF, 0xFFFFFF * 8, [copy(0, 0xFFFFF)] * 128)
    return {
        "its end is missing": lambda: (sealed(body[:-9]), "ends within|cannot be inflated"),
        "garbage at its end": lambda: (pack + b"x", "checksum"),
        "garbage before its end": lambda: (sealed(body + b"x"), "goes on after its last object"),
        "another checksum": lambda: (body + bytes(20), "checksum"),
        "fewer than it says": lambda: (made([blob_of], 2), "ends within"),
        "more than it says": lambda: (made([blob_of, blob_of], 1), "goes on after"),
        "a short object": lambda: (made([whole(BLOB, b"x", 2)]), "shorter than it says"),
        "a long object": lambda: (made([whole(BLOB, b"xx", 1)]), "longer than it says"),
        "a huge object": lambda: (made([whole(BLOB, b"", 1 << 40)]), "MiB are the most"),
        "a bomb": lambda: (made([whole(BLOB, bytes(80 << 20), 10)]), "longer than it says"),
        "a bomb of deltas": lambda: (
            made([whole(BLOB, large), ref_delta(blob_id(large), grown)]),
            "brings too much once its deltas",
        ),
        "a cycle": lambda: (
            made([ref_delta("1" * 40, change), ref_delta("2" * 40, change)]),
            "nowhere|nor",
        ),
        "a base outside": lambda: (made([blob_of, ofs_delta(3, change)]), "no object of it"),
        "the same twice": lambda: (made([blob_of, blob_of]), "twice"),
        "an unknown kind": lambda: (made([b"\x50" + blob_of[1:]]), "of no kind"),
        "version 3": lambda: (sealed(b"PACK\0\0\0\3\0\0\0\0"), "no pack of git"),
    }


CRAFTED = (
    *("its end is missing", "garbage at its end", "garbage before its end", "another checksum"),
    *("fewer than it says", "more than it says", "a short object", "a long object"),
    *("a huge object", "a bomb", "a bomb of deltas", "a cycle", "a base outside"),
    *("the same twice", "an unknown kind", "version 3"),
)


@pytest.mark.parametrize("name", CRAFTED)
async def test_a_pack_that_git_does_not_write(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, scout: str, name: str
) -> None:
    tip = await hive.tip()
    packs = await asyncio.to_thread(crafted, clone, tip)
    data, said = await asyncio.to_thread(packs[name])
    oid = git(clone.path, "rev-parse", "HEAD")
    there = await asyncio.to_thread(contents, layout)
    with pytest.raises(Refused) as caught:
        await hive.submit_commit(manager, scout, oid, "x", sends(data, oid))
    assert_matches(said, caught.value.message)
    assert caught.value.message.isprintable()
    assert await asyncio.to_thread(contents, layout) == there


MALFORMED: dict[str, tuple[bytes, bytes]] = {
    "a parent that git does not see": (b"\n\n", b"\nparent %TIP%\n\n"),
    "two authors": (b"\ncommitter ", b"\nauthor x <x> 1 +0000\ncommitter "),
    "no author": (b"\nauthor ", b"\nwriter "),
    "a time that is none": (b" +0000\n", b" now\n"),
    "no name": (b"\nauthor an agent <", b"\nauthor <"),
    "a nul": (b"\n\n", b"\n\n\0"),
    "a second tree": (b"\nauthor ", b"\ntree %TIP%\nauthor "),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_commit_that_git_does_not_write(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, scout: str, name: str
) -> None:
    good = clone.change("agents/scout/prompt.md", "x\n")
    data = git(clone.path, "cat-file", "commit", good).encode() + b"\n"
    old, new = MALFORMED[name]
    new = new.replace(b"%TIP%", (await hive.tip()).encode())
    bad = raw(clone, "commit", data.replace(old, new, 1))
    assert bad != good
    there = await asyncio.to_thread(contents, layout)
    with pytest.raises(Refused, match="not as git writes commits"):
        await hive.submit_commit(manager, scout, bad, "x", clone.fetch(bad))
    assert await asyncio.to_thread(contents, layout) == there


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("order", "git's order"),
        ("twice", "name twice"),
        ("padded", "no entry"),
        ("no end", "no entry"),
        ("null", "names no object"),
        ("mode", "has the mode"),
        (".GIT", "begin with .git"),
        (".g\u200cit", "begin with .git"),
        (".git ", "begin with .git"),
        ("git~1.", "begin with .git"),
        (".git\\x", "begin with .git"),
        ("..", "a name that is none"),
        (" " * 200_000 + "x", "name of more than 255 bytes"),
    ],
    ids=lambda value: value.strip()[:20],
)
async def test_a_tree_that_git_does_not_write_in_no_commit(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, scout: str, wrong: str, said: str
) -> None:
    """Also where a later commit takes it out again."""
    file = bytes.fromhex(blob(clone, b"x"))
    folder = b"".join(
        {
            "order": (b"100644 b\0" + file, b"100644 a\0" + file),
            "twice": (b"100644 a\0" + file, b"100644 a\0" + file),
            "padded": (b"0100644 a\0" + file,),
            "no end": (b"100644 " * 500_000,),  # where no entry is, none is looked for byte by byte
            "null": (b"100644 a\0" + bytes(20),),
            "mode": (b"100666 a\0" + file,),
        }.get(wrong, (b"100644 " + wrong.encode() + b"\0" + file,))
    )
    tree = git(clone.path, "rev-parse", "HEAD^{tree}")
    bad = tree_with(clone, [("40000", "folder", raw(clone, "tree", folder))])
    clone.write("agents/scout/prompt.md", "x\n")
    git(clone.path, "add", "-A")
    fine = git(clone.path, "write-tree")
    oid = commit_tree(clone, fine, bad)
    assert fine != tree
    there = await asyncio.to_thread(contents, layout)
    pack = await asyncio.to_thread(everything_but, clone, there)
    with pytest.raises(Refused) as caught:
        await hive.submit_commit(manager, scout, oid, "x", sends(pack, oid))
    assert_matches(said, caught.value.message)
    assert await asyncio.to_thread(contents, layout) == there


def everything_but(clone: Clone, there: Contents) -> bytes:
    """A pack of what git does not follow."""
    listed = ("cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)")
    new = set(git(clone.path, *listed).splitlines()) - there.objects
    return subprocess.run(
        ["git", "-C", str(clone.path), "pack-objects", "-q", "--stdout"],
        input="".join(f"{line.split()[0]}\n" for line in new).encode(),
        capture_output=True,
        check=True,
        env=ENVIRONMENT,
    ).stdout


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("limit", "value", "said"), [("MAX_TREE", 1000, "MiB"), ("MAX_NAMES", 80, "names are new")]
)
async def test_large_trees_are_not_read(
    hive: Hive,
    manager: Requester,
    clone: Clone,
    layout: Layout,
    scout: str,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    said: str,
) -> None:
    for n in range(80):
        clone.write(f"agents/scout/f{n}.md", "x")
    oid = clone.commit()
    there = await asyncio.to_thread(contents, layout)
    monkeypatch.setattr(importing, limit, value)
    with pytest.raises(Refused, match=said):
        await hive.submit_commit(manager, scout, oid, "x", clone.fetch(oid))
    assert await asyncio.to_thread(contents, layout) == there
    monkeypatch.undo()
    assert (await hive.submit_commit(manager, scout, oid, "x", clone.fetch(oid))).state == "open"


def _to_and_fro(clone: Clone) -> str:
    """A history whose trees come again, without a file that they had in between."""
    clone.write("agents/scout/prompt.md", "One.\n")
    for name in ("a", "b"):
        clone.write(f"agents/scout/{name}/lost.md", f"{name}\n")
    clone.commit()
    clone.change("agents/scout/prompt.md", "Two.\n")
    clone.change("agents/scout/prompt.md", "One.\n")  # the first tree again
    git(clone.path, "rm", "-q", "-r", "agents/scout/a", "agents/scout/b")
    return clone.change("agents/scout/prompt.md", "Three.\n")


def _empty_on_top(clone: Clone) -> str:
    clone.change("agents/scout/prompt.md", "One.\n")
    return clone.commit("nothing more")


@pytest.mark.parametrize("make", [_to_and_fro, _empty_on_top])
async def test_all_of_a_history_is_taken_in(
    hive: Hive,
    manager: Requester,
    clone: Clone,
    layout: Layout,
    scout: str,
    make: Callable[[Clone], str],
) -> None:
    """What is missing in it would keep everybody from cloning hive.git."""
    oid = await asyncio.to_thread(make, clone)
    done = await hive.submit_commit(manager, scout, oid, "x", clone.fetch(oid))
    assert done.state == "open", done.message
    await asyncio.to_thread(git, layout.hive_git, "fsck", "--strict", "--full")
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    await hive.approve(done.n, effect.digest, "root")
    again = layout.root / "again"
    url = f"file://{layout.hive_git}"
    await asyncio.to_thread(git, layout.root, "clone", "-q", url, str(again))


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
async def test_a_pack_is_read_as_nobody(
    hive: Hive, manager: Requester, clone: Clone, scout: str
) -> None:
    seen: list[int] = []
    oid = clone.change("agents/scout/prompt.md", "x\n")
    pack = clone.pack(oid, (await hive.tip(),))

    async def fetch(have: tuple[str, ...], write: Write) -> str:
        await write(pack[:20])
        async with asyncio.timeout(10):
            while NOBODY not in seen:
                seen.extend(await asyncio.to_thread(uids_of, "git.jail"))
                await asyncio.sleep(0.01)
        await write(pack[20:])
        return oid

    assert (await hive.submit_commit(manager, scout, oid, "x", fetch)).state == "open"
    assert (await spec_of(hive, "scout")).prompt != "x\n"


def uids_of(word: str) -> list[int]:
    """The uids of descendants of this process that run a command with `word`."""
    return [p.uid for p in descendants(os.getpid()) if word in " ".join(p.command)]
