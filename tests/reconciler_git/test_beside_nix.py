"""Files beside agent.nix, which Nix can read: no change of them is approved unseen."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from support.git_work import Clone, git

from hive_reconciler.git.durable import ANY, RefChange
from hive_reconciler.git.errors import Conflict
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.objects import signed
from hive_reconciler.git.store import APPLIED
from hive_reconciler.git.verify import verify
from hive_reconciler.model.effect import VERSION, Effect
from hive_reconciler.model.fields import Risk
from hive_reconciler.model.proposal import Requester
from hive_reconciler.model.records import merge_message, parse_merge
from hive_wire.paths import Layout

BESIDE = "agents/hm1nd/packages.json"
TOLD = "hm1nd: packages.json, which Nix can read for packages and services, is added"


async def asked(hive: Hive, manager: Requester, clone: Clone, path: str, text: str) -> int:
    """A proposal to change one file of the manager."""
    await asyncio.to_thread(clone.pull)
    oid = await asyncio.to_thread(clone.change, path, text)
    done = await hive.submit_commit(manager, "hm1nd", oid, "x", clone.fetch(oid))
    assert done.state == "open", done.message
    return done.n


async def effect_of(hive: Hive, n: int) -> Effect:
    found = (await hive.proposal(n)).effect
    assert found is not None
    return found


async def as_version(hive: Hive, n: int, version: int) -> Effect:
    """The effect of an open proposal as another version tells it."""

    def told() -> Effect:
        all_, decisions = hive._all, hive._decisions
        with all_.trees.scratch():
            proposal = all_.ledger.one(n)
            trees = decisions._trees(proposal)
            return all_.previews.step(trees[1], all_.previews.tree(*trees), version).effect

    return await hive._thread.run(told)


async def test_its_card_says_so_and_nix_is_asked(
    hive: Hive, manager: Requester, clone: Clone
) -> None:
    n = await asked(hive, manager, clone, BESIDE, '["nmap"]\n')
    effect = await effect_of(hive, n)
    assert [(c.risk, c.text) for c in effect.changes] == [(Risk.HIGH, TOLD)]
    found = await hive.candidate(n)
    assert found is not None
    assert found.systems == ("hm1nd",)


@pytest.mark.parametrize("path", ["agents/hm1nd/prompt.md", "agents/hm1nd/agent.toml"])
async def test_role_text_and_settings_ask_no_nix(
    hive: Hive, manager: Requester, clone: Clone, path: str
) -> None:
    text = clone.read(path) + "# more\n"
    assert await hive.candidate(await asked(hive, manager, clone, path, text)) is None


async def test_nix_is_asked_again_and_again(hive: Hive, manager: Requester, clone: Clone) -> None:
    """In a large swarm the trees of a look are soon not in memory any more; that the files could
    not be read then looked as if there were nothing for Nix, and no evaluation was waited for."""
    n = await asked(hive, manager, clone, BESIDE, '["nmap"]\n')
    other = await hive.submit_spawn(manager, "scout", "x")  # so that there is a merge to make
    await hive.approve(other.n, (await effect_of(hive, other.n)).digest, "root")
    first = await hive.candidate(n)
    assert first is not None
    hive._all.trees._cache.clear()
    hive._all.trees._compared.clear()
    assert await hive.candidate(n) == first


async def test_what_was_looked_at_by_former_rules_is_looked_at_again(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout
) -> None:
    """A page that was open while hyperhive was renewed."""
    n = await asked(hive, manager, clone, BESIDE, '["nmap"]\n')
    other = await hive.submit_spawn(manager, "scout", "x")  # so that there is a merge to make
    await hive.approve(other.n, (await effect_of(hive, other.n)).digest, "root")
    before = await as_version(hive, n, 1)
    assert not before.changes, "this is why there are new rules"
    tip = await hive.tip()
    await hive.close()
    again = await Hive.open(layout, runtime_reads_nix=False)
    try:
        now = await effect_of(again, n)
        with pytest.raises(Conflict, match="look at it again") as caught:
            await again.approve(n, before.digest, "root")
        assert caught.value.data is not None
        assert caught.value.data["digest"] == now.digest
        assert f"+ {TOLD}" in caught.value.data["changed"]
        assert "+ told by version 2 of the rules" in caught.value.data["changed"]
        assert await again.tip() == tip
        await again.approve(n, now.digest, "root")
    finally:
        await again.close()


async def merged(hive: Hive, layout: Layout, n: int, version: int, digest: str) -> str:
    """`n` merged by a record of this version and digest, as a hyperhive of then wrote it."""
    proposal = await hive.proposal(n)
    tip = await hive.tip()
    await hive.approve(n, (await effect_of(hive, n)).digest, "root")
    body = await asyncio.to_thread(git, layout.hive_git, "log", "-1", "--format=%B", "applied")
    record = parse_merge(body + "\n")
    other = dataclasses.replace(record, effect_version=version, effect_digest=digest)

    def forge() -> str:
        all_ = hive._all
        with all_.trees.scratch():
            tree = all_.store.tree_of(all_.history.tip())
            parents = (tip, proposal.pinned.commit)
            text = all_.store.commit_text(merge_message(other), tree, parents)
            made = all_.trees.write_commit(signed(text, all_.key.sign(text)))
            moved = RefChange(APPLIED, made, ANY)
            all_.store.land(all_.trees.unwritten(made), moved, all_.history.taking_over(made))
        return made

    return await hive._thread.run(forge)


async def wrongs(layout: Layout) -> list[str]:
    proof = await asyncio.to_thread(verify, layout)
    return [found.text for found in proof.findings if found.kind == "wrong"]


async def test_a_merge_by_former_rules_stays_proven_and_shown_by_them(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout
) -> None:
    n = await asked(hive, manager, clone, BESIDE, '["nmap"]\n')
    then = await as_version(hive, n, 1)
    await merged(hive, layout, n, 1, then.digest)
    assert await wrongs(layout) == []
    await hive.close()
    again = await Hive.open(layout, runtime_reads_nix=False)
    try:
        shown = await again.proposal(n)
        assert shown.state == "merged"
        assert shown.effect == then
    finally:
        await again.close()


@pytest.mark.parametrize("version", [1, 2])
async def test_a_record_names_the_rules_of_its_digest(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, version: int
) -> None:
    n = await asked(hive, manager, clone, BESIDE, '["nmap"]\n')
    other = await as_version(hive, n, 3 - version)
    await merged(hive, layout, n, version, other.digest)
    assert await wrongs(layout) == [f"proposal {n}: its effect is another than the approved one"]


async def test_a_merge_by_rules_to_come_is_not_shown_by_ours(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout
) -> None:
    n = await asked(hive, manager, clone, BESIDE, '["nmap"]\n')
    await merged(hive, layout, n, VERSION + 1, "0" * 64)
    shown = await hive.proposal(n)
    assert (shown.state, shown.effect) == ("merged", None)
    assert await wrongs(layout) == [f"proposal {n}: effect version {VERSION + 1} is unknown"]
