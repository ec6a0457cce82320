"""The proof of the log: what was not asked, shown and approved as recorded is named."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
from pathlib import Path

import pytest
from support.git_work import Clone, approve, git, spawned

from hive_reconciler.git import decide, intake
from hive_reconciler.git.durable import ANY, RefChange
from hive_reconciler.git.errors import ReadFailed
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.objects import signed
from hive_reconciler.git.repositories import PARSED
from hive_reconciler.git.store import APPLIED
from hive_reconciler.git.trees import Trees
from hive_reconciler.git.verify import verify
from hive_reconciler.model.policy import POWER_PER_HOUR
from hive_reconciler.model.proposal import Requester
from hive_reconciler.model.records import Merge, merge_message, parse_merge
from hive_wire.paths import Layout


async def wrongs(layout: Layout) -> list[str]:
    proof = await asyncio.to_thread(verify, layout)
    assert proof.ok == all(found.kind == "exception" for found in proof.findings)
    return [found.text for found in proof.findings if found.kind == "wrong"]


async def test_verify_proves_the_log(
    hive: Hive, manager: Requester, layout: Layout, tmp_path: Path
) -> None:
    await spawned(hive, manager, "scout")
    await hive.submit_power(manager, "scout", "stop")
    proof = await asyncio.to_thread(verify, layout)
    assert proof.ok
    assert (proof.commits, proof.merges) == (3, 2)
    assert [f.kind for f in proof.findings] == ["exception"]
    assert "the first commit" in proof.findings[0].text


async def test_verify_finds_what_was_not_approved(
    hive: Hive, manager: Requester, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge with right trailers over a tree that nobody saw, also if it were signed."""
    done = await hive.submit_spawn(manager, "scout", "x")
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    create = hive._all.store.commit_text
    evil = git(layout.hive_git, "rev-parse", "applied^{tree}")

    def other_tree(message: str, tree: str, *rest: object) -> bytes:
        return create(message, evil, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hive._all.store, "commit_text", other_tree)
    await hive.approve(done.n, effect.digest, "root")
    proof = await asyncio.to_thread(verify, layout)
    assert not proof.ok
    assert [f.text for f in proof.findings if f.kind == "wrong"] == [
        "proposal 1: its effect is another than the approved one"
    ]


async def test_an_effect_is_made_of_nothing_that_could_not_be_read(
    hive: Hive,
    manager: Requester,
    layout: Layout,
    clone: Clone,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One failed read of an agent as it is made its card that of a new agent, with a digest that
    never recomputes."""
    await spawned(hive, manager, "scout")
    clone.pull()
    oid = clone.change("agents/scout/prompt.md", "Look.\n")
    done = await hive.submit_commit(manager, "scout", oid, "x", clone.fetch(oid))
    right = (await hive.proposal(done.n)).effect
    await hive.close()
    (layout.reconciler / PARSED).unlink(missing_ok=True)  # what was read before is known by it
    again = await Hive.open(layout, runtime_reads_nix=False)
    failing = [git(layout.hive_git, "rev-parse", "applied:agents/scout/agent.toml")]
    blob = Trees.blob

    def fails_once(trees: Trees, oid: str) -> bytes:
        if oid in failing:
            failing.remove(oid)
            raise ReadFailed("the disk did not answer")
        return blob(trees, oid)

    monkeypatch.setattr(Trees, "blob", fails_once)
    try:
        assert (await again.proposal(done.n)).effect is None
        assert not failing
        assert (await again.proposal(done.n)).effect == right
        await approve(again, done.n)
    finally:
        await again.close()
    assert await wrongs(layout) == []


@pytest.mark.parametrize("what", ["refs/tags/proposal/1", "refs/tags/proposal/1^{commit}"])
async def test_a_merge_whose_proposal_cannot_be_read_is_not_proven(
    hive: Hive, manager: Requester, layout: Layout, what: str
) -> None:
    await spawned(hive, manager, "scout")
    await hive.close()
    oid = git(layout.hive_git, "rev-parse", what)
    (layout.hive_git / "objects" / oid[:2] / oid[2:]).unlink()
    (wrong,) = await wrongs(layout)
    assert "cannot be read" in wrong
    again = await Hive.open(layout, runtime_reads_nix=False)
    with pytest.raises(ReadFailed):
        await again.proposals()
    await again.close()


async def test_verify_names_unsigned_merges(
    hive: Hive, manager: Requester, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decide, "signed", lambda text, _: text)
    await spawned(hive, manager, "scout")
    proof = await asyncio.to_thread(verify, layout)
    assert [f.text for f in proof.findings if f.kind == "wrong"] == ["proposal 1: it is not signed"]


def forged(hive: Hive, merge: Merge, tree: str | None = None, commit: str | None = None) -> str:
    """A merge with the host's own signature, as only a fault of ours would make it. In the git
    thread."""
    all_ = hive._all
    tip = all_.history.tip()
    pinned = all_.ledger.one(merge.proposal).pinned.commit
    with all_.trees.scratch():
        parents = (tip, commit or pinned)
        text = all_.store.commit_text(
            merge_message(merge), tree or all_.store.tree_of(tip), parents
        )
        made = all_.trees.write_commit(signed(text, all_.key.sign(text)))
        all_.store.land(all_.trees.unwritten(made), RefChange(APPLIED, made, ANY))
    return made


async def last(hive: Hive, layout: Layout) -> Merge:
    """The record of the last merge."""
    body = git(layout.hive_git, "log", "-1", "--format=%B", await hive.tip())
    return parse_merge(body + "\n")


async def test_a_merge_of_another_key_is_wrong(
    hive: Hive, manager: Requester, layout: Layout, tmp_path: Path
) -> None:
    await spawned(hive, manager, "scout")
    other = tmp_path / "other"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    merge = await hive.tip()
    body = git(layout.hive_git, "log", "-1", "--format=%B", merge)
    forged_oid = git(
        layout.hive_git,
        *("-c", "gpg.format=ssh", "-c", f"user.signingkey={other}.pub"),
        *("commit-tree", "-S", f"{merge}^{{tree}}", "-p", f"{merge}^1", "-p", f"{merge}^2"),
        stdin=f"{body}\n".encode(),
    )
    git(layout.hive_git, "update-ref", "refs/heads/applied", forged_oid)
    assert await wrongs(layout) == ["proposal 1: its signature is not that of the host key"]


async def test_what_we_sign_is_what_ssh_keygen_and_git_read(
    hive: Hive, manager: Requester, layout: Layout, tmp_path: Path
) -> None:
    await spawned(hive, manager, "scout")
    git(
        layout.hive_git,
        *("-c", f"gpg.ssh.allowedSignersFile={layout.keys / 'allowed_signers'}"),
        *("verify-commit", await hive.tip()),
    )
    text = b"anything\n"
    (tmp_path / "sig").write_text(hive._all.key.sign(text))
    check = ["ssh-keygen", "-Y", "check-novalidate", "-n", "git", "-s", str(tmp_path / "sig")]
    await asyncio.to_thread(subprocess.run, check, input=text, check=True)


async def test_a_key_that_ssh_keygen_made_goes_on(layout: Layout) -> None:
    """Roots of earlier versions have one."""
    layout.keys.mkdir(parents=True)
    path = str(layout.keys / "host_ed25519")
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "hive-c0re", "-f", path]
    await asyncio.to_thread(subprocess.run, command, check=True)
    before = Path(path).read_bytes()
    hive = await Hive.open(layout, runtime_reads_nix=False)
    try:
        await spawned(hive, Requester.user("ada"), "scout")
        assert await wrongs(layout) == []
        assert Path(path).read_bytes() == before
    finally:
        await hive.close()


async def test_a_lost_list_of_signers_proves_nothing(
    hive: Hive, manager: Requester, layout: Layout
) -> None:
    await spawned(hive, manager, "scout")
    (layout.keys / "allowed_signers").unlink()
    (text,) = await wrongs(layout)
    assert "names the host key, is missing" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"effect_digest": "0" * 64}, "its effect is another than the approved one"),
        ({"requested_by": "user/eve"}, "its record says user/eve"),
        ({"effect_version": 99}, "effect version 99 is unknown"),
        ({"approved_by": "policy/power@" + "0" * 40}, "was not the policy of then"),
        ({"approved_by": "policy/everything"}, "was not the policy of then"),
        ({"proposal": 7}, "there is no proposal 7"),
    ],
)
async def test_a_record_that_says_something_else_is_wrong(
    hive: Hive,
    manager: Requester,
    layout: Layout,
    change: dict[str, object],
    said: str,
) -> None:
    await spawned(hive, manager, "scout")
    merge, record = await hive.tip(), await last(hive, layout)
    tree = git(layout.hive_git, "rev-parse", f"{merge}^{{tree}}")
    pinned = git(layout.hive_git, "rev-parse", f"{merge}^2")
    git(layout.hive_git, "update-ref", "refs/heads/applied", f"{merge}^1")
    other = dataclasses.replace(record, **change)  # type: ignore[arg-type]

    def forge() -> str:
        all_ = hive._all
        with all_.trees.scratch():
            parents = (all_.history.tip(), pinned)
            text = all_.store.commit_text(merge_message(other), tree, parents)
            made = all_.trees.write_commit(signed(text, all_.key.sign(text)))
            all_.store.land(all_.trees.unwritten(made), RefChange(APPLIED, made, ANY))
        return made

    await hive._thread.run(forge)
    (text,) = await wrongs(layout)
    assert said in text


async def test_a_consent_of_the_policy_to_what_it_does_not_let_pass_is_wrong(
    hive: Hive, manager: Requester, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right digest, the right hive.toml, the host's signature: and no person saw it."""
    done = await hive.submit_spawn(manager, "scout", "x")
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    oid = git(layout.hive_git, "rev-parse", "applied:hive.toml")
    monkeypatch.setattr(decide, "person_problem", lambda _: None)
    await hive.approve(done.n, effect.digest, f"policy/power@{oid}")
    assert await wrongs(layout) == ["proposal 1: the policy approved what it does not let pass"]
    gone = await hive.submit_retire(manager, "scout")
    effect = (await hive.proposal(gone.n)).effect
    assert effect is not None
    await hive.approve(gone.n, effect.digest, f"policy/auto_revert@{oid}")
    assert (await wrongs(layout))[0] == (
        "proposal 2: the policy approved a revert that it does not let pass"
    )


async def test_a_merge_under_a_freeze_is_wrong(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = await hive.submit_spawn(manager, "scout", "x")
    text = clone.read("hive.toml").replace("[policy]\n", "[policy]\nfreeze = true\n")
    clone.change("hive.toml", text)
    git(clone.path, "push", "-q", str(layout.inbox_git), "HEAD:refs/heads/proposed/freeze")
    (done,) = await hive.import_inbox()
    await approve(hive, done.n)
    monkeypatch.setattr(decide, "frozen", lambda *_: False)
    await approve(hive, waiting.n)
    assert await wrongs(layout) == ["proposal 1: merges were frozen"]


async def test_a_proposal_is_merged_once(
    hive: Hive, manager: Requester, user: Requester, layout: Layout
) -> None:
    """The same merge again would undo what was decided since, with everything signed."""
    n = await spawned(hive, manager, "scout")
    merge = await last(hive, layout)
    tree = git(layout.hive_git, "rev-parse", "applied^{tree}")
    gone = await hive.submit_revert(user, n)
    await approve(hive, gone.n)
    assert await wrongs(layout) == []
    again = await hive._thread.run(forged, hive, merge, tree)
    (text,) = await wrongs(layout)
    assert text.endswith("merged it before")
    proof = await asyncio.to_thread(verify, layout)
    assert [found.commit for found in proof.findings if found.kind == "wrong"] == [again]


async def test_more_consents_of_the_policy_than_an_hour_has_are_wrong(
    hive: Hive, manager: Requester, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    await spawned(hive, manager, "scout")
    for _ in range(POWER_PER_HOUR):
        assert (await hive.submit_power(manager, "scout", "restart")).state == "merged"
    assert await wrongs(layout) == []
    assert (await hive.submit_power(manager, "scout", "restart")).state == "open"
    monkeypatch.setattr(intake, "over_limit", lambda *_: False)
    renamed = manager._replace(name="boss")  # the same agent
    beyond = await hive.submit_power(renamed, "scout", "restart")
    assert beyond.state == "merged"
    proof = await asyncio.to_thread(verify, layout)
    (found,) = (found for found in proof.findings if found.kind == "wrong")
    assert found.commit == beyond.commit
    assert f"had approved {POWER_PER_HOUR} within the hour" in found.text
