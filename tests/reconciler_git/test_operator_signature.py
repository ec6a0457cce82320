"""An operator's own signature under an approval: checked when given, proven for ever."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
from pathlib import Path

import pytest
from support.git_work import Clone, git

from hive_reconciler.git.approval import sign
from hive_reconciler.git.errors import Refused
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.signing import SigningFailed
from hive_reconciler.git.verify import verify
from hive_reconciler.model.proposal import Requester
from hive_reconciler.model.records import approval_text, merge_message, parse_merge
from hive_wire.paths import Layout


def make_key(path: Path) -> str:
    """The line for [policy] signers."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True
    )
    return "ada " + Path(f"{path}.pub").read_text().strip()


@pytest.fixture
async def key(hive: Hive, clone: Clone, layout: Layout, tmp_path: Path) -> Path:
    """Of a signer that the applied hive.toml knows."""
    path = tmp_path / "ada"
    line = await asyncio.to_thread(make_key, path)
    text = clone.read("hive.toml")
    clone.change("hive.toml", text.replace("[policy]\n", f'[policy]\nsigners = ["{line}"]\n'))
    git(clone.path, "push", "-q", str(layout.inbox_git), "HEAD:refs/heads/proposed/signers")
    (done,) = await hive.import_inbox()
    assert done.state == "open", done.message
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    assert [(c.field, c.risk.value) for c in effect.changes] == [("policy.signers", "high")]
    await hive.approve(done.n, effect.digest, "root")
    return path


async def signed_text(hive: Hive, n: int, allow_prune: int = 0) -> tuple[str, str]:
    """The digest and the text to sign."""
    proposal = await hive.proposal(n)
    assert proposal.effect is not None
    effect = proposal.effect
    text = approval_text(n, proposal.pinned.commit, effect.version, effect.digest, allow_prune)
    return effect.digest, text


async def test_a_signed_approval_is_proven(
    hive: Hive, manager: Requester, key: Path, layout: Layout
) -> None:
    done = await hive.submit_spawn(manager, "scout", "x")
    digest, text = await signed_text(hive, done.n)
    await hive.approve(done.n, digest, "root", 0, await asyncio.to_thread(sign, text, key))
    proof = await asyncio.to_thread(verify, layout)
    assert (proof.ok, proof.merges, proof.signed) == (True, 2, 1)
    body = git(layout.hive_git, "log", "-1", "--format=%(trailers:key=Operator-Signature)")
    assert body.startswith("Operator-Signature: U1NIU0lH")


async def test_a_signature_is_of_this_approval_only(
    hive: Hive, manager: Requester, key: Path, tmp_path: Path
) -> None:
    one, two = [(await hive.submit_spawn(manager, name, "x")).n for name in ("a", "b")]
    digest, text = await signed_text(hive, one)
    _, other = await signed_text(hive, two)
    _, pruning = await signed_text(hive, one, 3)
    stranger = tmp_path / "stranger"
    await asyncio.to_thread(make_key, stranger)
    for wrong in (
        await asyncio.to_thread(sign, other, key),
        await asyncio.to_thread(sign, pruning, key),
        await asyncio.to_thread(sign, text, stranger),
        "x" * 300,
        "U1NIU0lH\nApproved-by: root",
    ):
        with pytest.raises(Refused, match="not signed by any of"):
            await hive.approve(one, digest, "root", 0, wrong)
    assert (await hive.proposal(one)).state == "open"


async def test_verify_names_a_signature_that_is_not_the_operators(
    hive: Hive, manager: Requester, key: Path, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the host signed it: what the host's key can do is not what a person's can."""
    done = await hive.submit_spawn(manager, "scout", "x")
    digest, text = await signed_text(hive, done.n)
    good = await asyncio.to_thread(sign, text, key)
    create = hive._all.store.commit_text

    def forge(message: str, *rest: object) -> bytes:
        merge = dataclasses.replace(parse_merge(message), approved_by="eve", allow_prune=9)
        return create(merge_message(merge), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hive._all.store, "commit_text", forge)
    await hive.approve(done.n, digest, "root", 0, good)
    proof = await asyncio.to_thread(verify, layout)
    assert [f.text for f in proof.findings if f.kind == "wrong"] == [
        "proposal 2: its approval is not signed by any of [policy] signers in hive.toml"
    ]
    assert (proof.ok, proof.signed) == (False, 0)


async def test_a_key_that_cannot_sign_says_so(tmp_path: Path) -> None:
    with pytest.raises(SigningFailed, match="ssh-keygen failed"):
        await asyncio.to_thread(sign, "x", tmp_path / "none")
