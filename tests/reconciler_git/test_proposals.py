"""One proposal from wish to merge, over real repositories."""

from __future__ import annotations

import pytest
from support.git_work import Clone, git, manager_of, spec_of

from hive_reconciler.git.errors import Busy, Conflict, NotFound, Refused
from hive_reconciler.git.hive import Hive
from hive_reconciler.git.listing import Entry
from hive_reconciler.model.desired import Valid
from hive_reconciler.model.proposal import Requester, proposal_json
from hive_reconciler.model.tree import FILE
from hive_wire.paths import Layout


async def merged_agent(hive: Hive, manager: Requester, name: str = "scout") -> None:
    done = await hive.submit_spawn(manager, name, "looks around", prompt="Look around.")
    proposal = await hive.proposal(done.n)
    assert proposal.effect is not None
    await hive.approve(done.n, proposal.effect.digest, "root")


async def digest_of(hive: Hive, n: int) -> str:
    effect = (await hive.proposal(n)).effect
    assert effect is not None
    return effect.digest


async def test_spawn_is_shown_then_merged(hive: Hive, manager: Requester, layout: Layout) -> None:
    before = await hive.tip()
    done = await hive.submit_spawn(
        manager,
        "scout",
        "looks around",
        prompt="Look around.",
        settings={"limits.memory": "512M", "limits.cpus": "0.5"},
    )
    assert (done.n, done.state) == (1, "open")
    assert await hive.tip() == before

    shown = await hive.proposal(1)
    assert shown.state == "open"
    assert shown.effect is not None
    assert [a.kind for a in shown.effect.actions] == ["create"]
    assert {f.path for f in shown.effect.files} == {
        "agents/scout/agent.toml",
        "agents/scout/agent.nix",
        "agents/scout/prompt.md",
    }
    assert not shown.problems
    assert not shown.needs_rebase
    diff = await hive.diff(1)
    text = "\n".join(line["text"] for file in diff for hunk in file["hunks"] for line in hunk)
    assert "Look around." in text
    assert all(file["status"] == "added" for file in diff)

    preview = await hive.preview(1)
    assert preview is not None
    assert "scout" in preview.agents

    merge = await hive.approve(1, shown.effect.digest, "root")
    assert await hive.tip() == merge
    scout = await spec_of(hive, "scout")
    assert scout.spec.limits.memory == "512M"
    assert scout.spec.limits.cpus == 0.5
    assert scout.prompt == "Look around.\n"
    assert scout.spec.uid
    after = await hive.proposal(1)
    assert (after.state, after.by, after.merge) == ("merged", "root", merge)
    assert after.effect == shown.effect
    message = git(layout.hive_git, "log", "-1", "--format=%B", merge)
    assert message.splitlines()[0] == "Merge proposal 1"
    assert f"Effect-Digest: {shown.effect.digest}" in message
    assert "Look around" not in message
    git(layout.hive_git, "fsck", "--strict", "--full")


async def test_merge_is_signed_by_the_host_key(
    hive: Hive, manager: Requester, layout: Layout
) -> None:
    await merged_agent(hive, manager)
    signers = f"gpg.ssh.allowedSignersFile={layout.keys / 'allowed_signers'}"
    git(layout.hive_git, "-c", signers, "verify-commit", await hive.tip())


async def test_apply_by_short_id(hive: Hive, manager: Requester, clone: Clone) -> None:
    await merged_agent(hive, manager)
    clone.pull()
    text = clone.read("agents/scout/agent.toml").replace("looks around", "reads the news")
    oid = clone.change("agents/scout/agent.toml", text)
    done = await hive.submit_commit(manager, "scout", oid[:7], "why", clone.fetch(oid))
    assert done.state == "open", done.message
    shown = await hive.proposal(done.n)
    assert shown.pinned.commit == oid
    assert shown.effect is not None
    assert [(c.field, c.before, c.after) for c in shown.effect.changes] == [
        ("description", "looks around", "reads the news")
    ]
    await hive.approve(done.n, shown.effect.digest, "root")
    assert (await spec_of(hive, "scout")).spec.description == "reads the news"


async def test_agent_added_by_commit_gets_a_uid(
    hive: Hive, manager: Requester, clone: Clone
) -> None:
    clone.write("agents/scout/agent.toml", '# mine\ndescription = "x"\n')
    oid = clone.change("agents/scout/prompt.md", "Look.\n")
    done = await hive.submit_commit(manager, "scout", oid, "a scout", clone.fetch(oid))
    assert done.state == "open", done.message
    shown = await hive.proposal(done.n)
    assert shown.pinned.submitted == oid
    assert shown.pinned.commit != oid
    await hive.approve(done.n, await digest_of(hive, done.n), "root")
    scout = await spec_of(hive, "scout")
    assert scout.spec.uid
    clone.pull()
    lines = clone.read("agents/scout/agent.toml").splitlines()
    assert lines[0].startswith("uid = ")
    assert lines[1:] == ["# mine", 'description = "x"']


async def test_deny_tells_the_reason_and_is_final(hive: Hive, manager: Requester) -> None:
    done = await hive.submit_spawn(manager, "scout", "looks")
    reason = "too much\nApproved-by: root\x1b[31m"
    denied = await hive.deny(done.n, reason, "root")
    assert (denied.state, denied.reason, denied.by) == ("denied", reason, "root")
    assert await hive.proposal(done.n) == await hive.proposal(done.n)
    with pytest.raises(Conflict, match="denied already by root"):
        await hive.approve(done.n, await digest_of(hive, done.n), "root")
    with pytest.raises(Conflict):
        await hive.withdraw(done.n, "root")
    with pytest.raises(NotFound):
        await hive.deny(99, "no", "root")


async def test_another_effect_is_a_conflict_that_says_what_changed(
    hive: Hive, manager: Requester, clone: Clone
) -> None:
    await merged_agent(hive, manager)
    clone.pull()
    text = clone.read("agents/scout/agent.toml")
    oid = clone.change("agents/scout/agent.toml", text + '\n[limits]\nmemory = "1G"\n')
    done = await hive.submit_commit(manager, "scout", oid, "more", clone.fetch(oid))
    shown = await digest_of(hive, done.n)
    stopped = await hive.submit_power(manager, "scout", "stop")
    assert stopped.state == "merged"
    with pytest.raises(Conflict) as caught:
        await hive.approve(done.n, shown, "root")
    data = caught.value.data
    assert data["digest"] == await digest_of(hive, done.n) != shown
    assert any(line.startswith("- update scout") for line in data["changed"]), data["changed"]
    await hive.approve(done.n, data["digest"], "root")
    scout = await spec_of(hive, "scout")
    assert (scout.spec.state, scout.spec.limits.memory) == ("stopped", "1G")


async def test_power_elsewhere_leaves_a_card_as_it_is(hive: Hive, manager: Requester) -> None:
    await merged_agent(hive, manager, "one")
    await merged_agent(hive, manager, "two")
    done = await hive.submit_retire(manager, "two")
    shown = await digest_of(hive, done.n)
    assert (await hive.submit_power(manager, "one", "restart")).state == "merged"
    assert await digest_of(hive, done.n) == shown
    await hive.approve(done.n, shown, "root")
    assert "two" not in (await hive.read()).agents


async def test_conflicting_change_needs_a_rebase(
    hive: Hive, manager: Requester, clone: Clone
) -> None:
    await merged_agent(hive, manager)
    clone.pull()
    first = clone.change("agents/scout/prompt.md", "One.\n")
    git(clone.path, "reset", "-q", "--hard", "HEAD~1")
    one = await hive.submit_commit(manager, "scout", first, "one", clone.fetch(first))
    other = Requester.user("bob")
    second = clone.change("agents/scout/prompt.md", "Two.\n")
    two = await hive.submit_commit(other, "scout", second, "two", clone.fetch(second))
    await hive.approve(one.n, await digest_of(hive, one.n), "root")
    shown = await hive.proposal(two.n)
    assert shown.needs_rebase
    assert shown.effect is not None
    assert await hive.preview(two.n) is None
    assert await hive.diff(two.n)
    with pytest.raises(Conflict) as caught:
        await hive.approve(two.n, shown.effect.digest, "root")
    assert caught.value.data == {"conflicts": ["agents/scout/prompt.md"]}
    with_rejection = await hive.submit_commit(other, "scout", second, "again", clone.fetch(second))
    assert with_rejection.state == "rejected"
    assert "rebase" in with_rejection.message


async def test_a_new_submission_supersedes_the_old(hive: Hive, manager: Requester) -> None:
    one = await hive.submit_spawn(manager, "scout", "one")
    two = await hive.submit_spawn(manager, "scout", "two")
    assert (await hive.proposal(one.n)).state == "superseded"
    assert (await hive.proposal(two.n)).state == "open"
    assert [p.n for p in await hive.proposals("open")] == [two.n]
    assert [p.n for p in await hive.proposals("closed")] == [one.n]


async def test_proposals_come_in_pages(hive: Hive, manager: Requester) -> None:
    for text in "abcde":
        await hive.submit_spawn(manager, text, text)
    found: list[int] = []
    while page := await hive.proposals("open", 2, found[-1] if found else None):
        found += [proposal.n for proposal in page]
    assert found == [5, 4, 3, 2, 1]
    assert not await hive.proposals("merged", 2, 3)


async def test_an_agent_asks_for_so_much_and_no_more(
    hive: Hive, manager: Requester, user: Requester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_reconciler.git.intake.MAX_ASKED", 3)
    for text in ("one", "two", "three"):  # each takes the place of the one before
        await hive.submit_spawn(manager, "scout", text)
    with pytest.raises(Busy, match="you asked for 3 changes within the hour"):
        await hive.submit_spawn(manager, "scout", "four")
    for text in ("one", "two", "three", "four"):
        await hive.submit_spawn(user, "scout", text)


async def test_power_by_policy_has_a_limit(hive: Hive, manager: Requester, layout: Layout) -> None:
    await merged_agent(hive, manager)
    for _ in range(10):
        done = await hive.submit_power(manager, "scout", "restart")
        assert done.state == "merged", done.message
    done = await hive.submit_power(manager, "scout", "restart")
    assert done.state == "open"
    assert "limit" in done.message
    by = git(layout.hive_git, "log", "-1", "--format=%(trailers:key=Approved-by,valueonly)")
    policy = git(layout.hive_git, "rev-parse", "applied:hive.toml")
    assert by == f"policy/power@{policy}"


async def test_power_on_the_manager_waits_for_a_person(hive: Hive, manager: Requester) -> None:
    done = await hive.submit_power(manager, manager.name, "restart")
    assert done.state == "open"


async def test_power_of_a_user_is_theirs(hive: Hive, manager: Requester, user: Requester) -> None:
    await merged_agent(hive, manager)
    done = await hive.submit_power(user, "scout", "stop")
    assert done.state == "merged"
    assert (await hive.proposal(done.n)).by == "ada"
    with pytest.raises(Refused, match="stopped already"):
        await hive.submit_power(user, "scout", "stop")
    with pytest.raises(NotFound):
        await hive.submit_power(user, "nobody", "stop")


async def test_a_rule_is_proposed_and_not_merged(
    hive: Hive, manager: Requester, user: Requester
) -> None:
    await merged_agent(hive, manager)
    done = await hive.submit_allow(user, "scout", "Bash(git status)")
    assert done.state == "open"
    [change] = (await hive.proposal(done.n)).effect.changes
    assert (change.field, change.after) == ("tools.allow", ["Bash(git status)"])
    await hive.approve(done.n, (await hive.proposal(done.n)).effect.digest, "ada")
    with pytest.raises(Refused, match="already"):
        await hive.submit_allow(user, "scout", "Bash(git status)")


async def test_only_the_manager_asks(hive: Hive, manager: Requester) -> None:
    await merged_agent(hive, manager)
    scout = await spec_of(hive, "scout")
    assert scout.spec.uid
    with pytest.raises(Refused, match="only the manager"):
        await hive.submit_spawn(Requester.agent(scout.spec.uid, "scout"), "mine", "a helper")
    with pytest.raises(Refused, match="only the manager"):
        await hive.submit_power(Requester.agent("aaaaaaaaaaaa", "hm1nd"), "scout", "stop")


async def test_last_manager_stays(hive: Hive, manager: Requester, user: Requester) -> None:
    done = await hive.submit_retire(user, manager.name)
    assert done.state == "rejected"
    assert "no manager left" in done.message


async def test_what_was_read_once_is_not_kept_for_ever(hive: Hive, manager: Requester) -> None:
    await merged_agent(hive, manager)
    all_ = hive._all

    def read_many() -> None:
        tree = all_.store.tree_of(all_.history.tip())
        text = all_.trees.file(tree, "hive.toml")
        assert text is not None
        with all_.trees.scratch():
            for n in range(50):
                blob = all_.trees.write_blob(text + b"# %d\n" % n)
                all_.reader.hive(all_.trees.put(tree, "hive.toml", Entry(FILE, blob)))

    await hive._thread.run(read_many)
    assert len(all_.reader._hive) < 20
    for n in range(20):
        await hive.set_deployed(1, f"part {n} of 20")
        (proposal,) = await hive.proposals()
        assert proposal.deployed == f"part {n} of 20"
    assert len(all_.ledger._told) == 1


async def test_everything_comes_back_from_git_alone(
    hive: Hive, manager: Requester, layout: Layout
) -> None:
    await merged_agent(hive, manager)
    await hive.submit_spawn(manager, "other", "x", prompt="y")
    await hive.deny(2, "no", "root")
    await hive.submit_power(manager, "scout", "stop")
    await hive.submit_spawn(manager, "third", "x")
    await hive.set_deployed(1, "ready")
    before = [proposal_json(p) for p in await hive.proposals()]
    desired = await hive.read()
    again = await Hive.open(layout, runtime_reads_nix=False)
    try:
        assert [proposal_json(p) for p in await again.proposals()] == before
        assert await again.read() == desired
        assert (await again.proposal(1)).deployed == "ready"
    finally:
        await again.close()
    assert isinstance(desired.agents["scout"], Valid)


async def test_a_network_that_this_host_cannot_give_is_refused(layout: Layout) -> None:
    """On the card, where a person reads it; a start would only fail."""
    hive = await Hive.open(layout, runtime_reads_nix=True, networks=frozenset({"none", "host"}))
    try:
        requester = await manager_of(hive)
        settings = {"network.mode": "private"}
        done = await hive.submit_spawn(requester, "scout", "looks", settings=settings)
        assert done.state == "rejected"
        assert "network.mode = private cannot be had" in done.message
        assert "gives host and none only" in done.message
    finally:
        await hive.close()
