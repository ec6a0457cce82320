"""The manager's clone and its packs: real git, over the real harness process."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.applied_repo import commit, git, make_applied
from support.fake_broker import FakeBroker
from support.harness_process import HarnessProcess

from hive_harness import clone as clone_module
from hive_harness.clone import Clone
from hive_harness.processes import Children
from hive_wire.rpc_errors import RpcError


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[HarnessProcess]:
    harness = HarnessProcess(tmp_path)
    harness.agent(role="manager", name="hm1nd")
    make_applied(harness.applied, tmp_path / "work")
    async with harness:
        yield harness


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[FakeBroker]:
    async with FakeBroker(tmp_path / "run") as fake:
        yield fake


async def test_a_commit_is_packed_beyond_what_the_asker_has(
    broker: FakeBroker, manager: HarnessProcess, tmp_path: Path
) -> None:
    await broker.state("idle")
    base = git(manager.applied, "rev-parse", "applied")
    with pytest.raises(RpcError, match="no commit"):  # and by then the clone is there
        await broker.export("abcdef1234", [])
    assert git(manager.hive, "config", "user.name") == "hm1nd"
    assert git(manager.hive, "remote") == "applied"
    head = commit(manager.hive, "new.txt", "x" * 1000)
    answer, pack = await broker.export(head[:9], [base, "f" * 40])
    assert answer == {"oid": head, "bytes": len(pack)}
    # Complete beyond the base: a strict index in a repository that has only the base.
    fresh = tmp_path / "fresh.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(manager.applied), str(fresh)], check=True)
    git(fresh, "index-pack", "--stdin", "--strict", "--fix-thin", feed=pack)
    assert git(fresh, "rev-list", "--objects", f"{base}..{head}").count("\n") == 2
    # Without a base the pack holds everything.
    _, whole = await broker.export(head, [])
    empty = tmp_path / "empty.git"
    subprocess.run(["git", "init", "-q", "--bare", str(empty)], check=True)
    git(empty, "index-pack", "--stdin", "--strict", feed=whole)
    assert git(empty, "rev-list", "--count", head) == "2"


async def test_the_export_fetches_what_was_merged_meanwhile(
    broker: FakeBroker, manager: HarnessProcess, tmp_path: Path
) -> None:
    await broker.state("idle")
    merged = commit(tmp_path / "work", "other.txt", "merged")
    git(tmp_path / "work", "push", "-q", str(manager.applied), "applied")
    answer, _ = await broker.export(merged, [])
    assert answer["oid"] == merged


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("HEAD", "no commit id"),
        ("--upload-pack=evil", "no commit id"),
        ("abc12", "no commit id"),
        ("deadbeef", "there is no commit deadbeef"),
        ("abcdef1", "there is no commit abcdef1"),
    ],
)
async def test_a_wish_that_cannot_be_met_is_answered_in_words(
    broker: FakeBroker, manager: HarnessProcess, wish: str, words: str
) -> None:
    await broker.state("idle")
    with pytest.raises(RpcError, match="no commit"):
        await broker.export("0" * 40, [])
    git(manager.hive, "branch", "abcdef1", "applied")  # a name that looks like an id is none
    with pytest.raises(RpcError, match=words):
        await broker.export(wish, [])


async def test_a_tree_or_blob_is_no_commit(broker: FakeBroker, manager: HarnessProcess) -> None:
    await broker.state("idle")
    tree = git(manager.applied, "rev-parse", "applied^{tree}")
    with pytest.raises(RpcError, match="there is no commit"):
        await broker.export(tree, [])


async def test_only_the_manager_exports(broker: FakeBroker, tmp_path: Path) -> None:
    harness = HarnessProcess(tmp_path)
    harness.agent()
    async with harness:
        await broker.state("idle")
        with pytest.raises(RpcError, match="only the manager"):
            await broker.export("abcdef1234", [])


async def test_an_applied_that_is_not_there_is_said(broker: FakeBroker, tmp_path: Path) -> None:
    harness = HarnessProcess(tmp_path)
    harness.agent(role="manager")
    async with harness:
        await broker.state("idle")
        with pytest.raises(RpcError, match="clone could not be made"):
            await broker.export("abcdef1234", [])
        assert "does not exist" in harness.log


@pytest.mark.parametrize("folder", [True, False])
async def test_what_lies_in_the_place_of_the_clone_stops_no_turn(
    broker: FakeBroker, tmp_path: Path, folder: bool
) -> None:
    """The manager's own doing, as `rm -rf .git`: it is told, and may put it right."""
    harness = HarnessProcess(tmp_path)
    harness.agent(role="manager", name="hm1nd")
    (harness.rehearsal / "manager.toml").write_text('[[rule]]\n[[rule.step]]\nsay = "here"\n')
    make_applied(harness.applied, tmp_path / "work")
    mine = harness.hive
    if folder:
        mine.mkdir()
        mine = mine / "mine"
    mine.write_text("x")
    async with harness:
        broker.post("x")
        assert (await broker.ended()).outcome == "ok"
        with pytest.raises(RpcError, match="clone could not be made"):
            await broker.export("abcdef1234", [])
        assert f"{harness.hive} is in the way" in harness.log
        assert mine.read_text() == "x"
        mine.unlink()
        head = git(harness.applied, "rev-parse", "applied")
        assert (await broker.export(head, []))[0]["oid"] == head


async def test_a_pack_over_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    make_applied(tmp_path / "applied.git", tmp_path / "work")
    clone = Clone(tmp_path / "hive", tmp_path / "applied.git", "hm1nd", Children())
    await clone.make()
    (tmp_path / "hive" / "big").write_bytes(os.urandom(3 << 20))
    git(tmp_path / "hive", "add", ".")
    git(tmp_path / "hive", "commit", "-q", "-m", "big")
    monkeypatch.setattr(clone_module, "MAX_PACK", 1 << 20)
    oid, pack = await clone.export(git(tmp_path / "hive", "rev-parse", "HEAD"), [])
    assert len(oid) == 40
    with pytest.raises(RpcError, match="take large files out"):
        async for _ in pack:
            pass
    # The clone is free again.
    await clone.export(oid, [oid])


async def test_the_clone_is_made_once_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    make_applied(tmp_path / "applied.git", tmp_path / "work")
    (tmp_path / "hive.new").mkdir()  # half a clone of a boot that was killed
    clone = Clone(tmp_path / "hive", tmp_path / "applied.git", "hm1nd", Children())
    await clone.make()
    (tmp_path / "hive" / "mine").write_text("x")
    await clone.make()
    assert (tmp_path / "hive" / "mine").exists()
    trusted = (tmp_path / "gitconfig").read_text()
    assert trusted.count("applied.git") == 1
