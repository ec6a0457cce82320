"""People's pushes become proposals, judged as the files then stand."""

from __future__ import annotations

import tomllib

import pytest
from support.git_work import Clone, Push, approve, git, spawned, spec_of

from hive_reconciler.git import intake
from hive_reconciler.git.errors import Refused
from hive_reconciler.git.hive import Hive
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout


async def test_a_push_becomes_a_proposal(hive: Hive, clone: Clone, push: Push) -> None:
    text = clone.read("hive.toml").replace("expire_days = 30", "expire_days = 3")
    clone.write("hive.toml", text)
    oid = clone.commit("Shorter expiry\n\nBecause.\nApproved-by: root")
    push("expiry")
    (done,) = await hive.import_inbox()
    assert done.state == "open", done.message
    shown = await hive.proposal(done.n)
    assert shown.pinned.commit == oid
    assert shown.pinned.source == "expiry"
    assert shown.pinned.requester.kind == "user"
    assert shown.pinned.description.startswith("Shorter expiry")
    assert shown.effect is not None
    assert [(c.field, c.before, c.after) for c in shown.effect.changes] == [
        ("policy.expire_days", 30, 3)
    ]
    assert not await hive.import_inbox()
    await approve(hive, done.n)
    assert (await hive.read()).hive.policy.expire_days == 3
    assert not await hive.import_inbox()


async def test_a_moved_branch_supersedes(hive: Hive, clone: Clone, push: Push) -> None:
    clone.change("agents/hm1nd/prompt.md", "One.\n")
    push("x")
    (one,) = await hive.import_inbox()
    clone.change("agents/hm1nd/prompt.md", "Two.\n")
    push("x")
    (two,) = await hive.import_inbox()
    assert (await hive.proposal(one.n)).state == "superseded"
    assert (await hive.proposal(two.n)).state == "open"
    assert (await hive.proposal(two.n)).pinned.agent == "hm1nd"


async def test_bad_pushes_are_refused_once(hive: Hive, clone: Clone, push: Push) -> None:
    good = git(clone.path, "rev-parse", "HEAD")
    clone.change("hive.toml", "schema = 7\n")
    push("bad-settings")
    git(clone.path, "reset", "-q", "--hard", good)
    clone.change("agents/hm1nd/.gitattributes", "* x\n")
    push("attributes")
    git(clone.path, "reset", "-q", "--hard", good)
    push("nothing")
    git(clone.path, "checkout", "-q", "--orphan", "other")
    clone.commit("unrelated")
    push("unrelated")
    done = await hive.import_inbox()
    assert {d.state for d in done} == {"rejected"}
    said = " / ".join(d.message for d in done)
    for part in ("hive.toml", "begin with .git", "changes nothing", "shares no history"):
        assert part in said
    assert not await hive.import_inbox()


async def test_a_push_for_which_there_is_no_room_comes_in_when_there_is(
    hive: Hive, clone: Clone, push: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_OPEN", 1)
    for topic in ("a", "b"):
        clone.change("README.md", f"{topic}\n")
        push(topic)
    (first,) = await hive.import_inbox()
    assert await hive.import_inbox() == ()
    await hive.withdraw(first.n, "root")
    (second,) = await hive.import_inbox()
    assert (await hive.proposal(second.n)).pinned.source == "b"


async def test_a_push_that_comes_while_applied_is_not_to_be_followed_waits(
    hive: Hive, clone: Clone, push: Push, layout: Layout
) -> None:
    clone.change("README.md", "Ours.\n")
    push("x")
    foreign = clone.change("agents/hm1nd/prompt.md", "Obey.\n")
    git(clone.path, "push", "-q", str(layout.hive_git), "HEAD:refs/heads/x")
    before = await hive.tip()
    git(layout.hive_git, "update-ref", "refs/heads/applied", foreign)
    assert await hive.import_inbox() == ()
    git(layout.hive_git, "update-ref", "refs/heads/applied", before)
    (done,) = await hive.import_inbox()
    assert done.state == "open"


LINES = "".join(f"line {n}\n" for n in range(30))


@pytest.mark.parametrize(
    ("theirs", "merged"),
    [
        (f"{LINES}last\n".encode(), f"first\n{LINES}last\n"),
        (f"other\n{LINES}".encode(), None),
        (f"{LINES}last\xff\n".encode("latin-1"), None),
        (f"{LINES}a\0b\n".encode(), None),
        (LINES.encode() + b"x" * 200_000, None),
    ],
    ids=["elsewhere", "the same line", "no UTF-8", "nul", "large"],
)
async def test_a_file_that_applied_changed_meanwhile_is_merged_or_named(
    hive: Hive, manager: Requester, clone: Clone, push: Push, theirs: bytes, merged: str | None
) -> None:
    path = "agents/hm1nd/prompt.md"
    before = clone.change(path, LINES)
    done = await hive.submit_commit(manager, "hm1nd", before, "x", clone.fetch(before))
    await approve(hive, done.n)
    mine = clone.change(path, f"first\n{LINES}")
    done = await hive.submit_commit(manager, "hm1nd", mine, "x", clone.fetch(mine))
    await approve(hive, done.n)

    git(clone.path, "reset", "-q", "--hard", before)
    clone.change(path, theirs)
    push("a-late-one")
    clone.pull()
    clone.change("README.md", "Ours.\n")
    push("b-another")
    late, other = await hive.import_inbox()
    assert other.state == "open"
    if merged is None:
        assert late.state == "rejected"
        assert "changed in applied meanwhile; rebase" in late.message
    else:
        await approve(hive, late.n)
        assert (await spec_of(hive, "hm1nd")).prompt == merged


async def test_people_add_agents_by_push(hive: Hive, clone: Clone, push: Push) -> None:
    clone.write("agents/scout/agent.toml", 'description = "x"\n')
    clone.change("agents/scout/prompt.md", "Look.\n")
    push("scout")
    (done,) = await hive.import_inbox()
    await approve(hive, done.n)
    assert (await spec_of(hive, "scout")).spec.uid


async def test_a_push_that_renames_shows_as_removed_and_added_and_says_so(
    hive: Hive, user: Requester, clone: Clone, push: Push
) -> None:
    await spawned(hive, user, "scout")
    uid = (await spec_of(hive, "scout")).spec.uid
    clone.pull()
    git(clone.path, "mv", "agents/scout", "agents/spy")
    clone.commit("Rename scout")
    push("spy")
    (done,) = await hive.import_inbox()
    assert done.state == "open", done.message
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    assert [(a.kind, a.agent, a.reason) for a in effect.actions] == [
        ("destroy", "scout", "it is spy now"),
        ("create", "spy", "it was scout"),
    ]
    texts = {c.agent: c.text for c in effect.changes if c.field == "agent"}
    assert texts["scout"].endswith("which is renamed: its state goes on with spy")
    assert texts["spy"].startswith("adds the agent spy: scout under a new name")
    await approve(hive, done.n)
    assert (await spec_of(hive, "spy")).spec.uid == uid
    assert "scout" not in (await hive.read()).agents


async def test_a_push_that_renames_who_is_gone_meanwhile_is_no_new_agent(
    hive: Hive, user: Requester, clone: Clone, push: Push
) -> None:
    """It would be added with the state, session and mail of the one that is retired."""
    await spawned(hive, user, "scout")
    clone.pull()
    git(clone.path, "mv", "agents/scout", "agents/spy")
    clone.commit("Rename scout")
    push("early")
    (early,) = await hive.import_inbox()
    await approve(hive, (await hive.submit_retire(user, "scout")).n)
    said = "has the uid of scout, which is gone since then"
    proposal = await hive.proposal(early.n)
    assert [said in problem for problem in proposal.problems] == [True]
    with pytest.raises(Refused, match=said):
        await approve(hive, early.n)
    git(clone.path, "commit", "-q", "--amend", "-m", "Again")
    push("late")
    (late,) = await hive.import_inbox()
    assert late.state == "rejected"
    assert said in late.message


async def accepted(hive: Hive, clone: Clone, layout: Layout, path: str, text: str) -> None:
    """A person lets it become applied although nothing checked it."""
    bad = clone.change(path, text)
    git(clone.path, "push", "-q", "-f", str(layout.hive_git), "HEAD:refs/heads/x")
    git(layout.hive_git, "update-ref", "refs/heads/applied", bad)
    await hive.accept(bad, "root", "an older hyperhive took it")
    clone.pull()


@pytest.mark.parametrize("bad", [('modell = "x"\n',), ("= is no TOML\n", "nor [ is this\n")])
async def test_who_mends_an_agent_gives_it_no_other_uid(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout, bad: tuple[str, ...]
) -> None:
    await spawned(hive, manager, "scout")
    clone.pull()
    path = "agents/scout/agent.toml"
    good = clone.read(path)
    for wrong in bad:
        await accepted(hive, clone, layout, path, good + wrong)
    uid = (tomllib.loads(good))["uid"]
    other = clone.change(path, good.replace(uid, "a" * 12))
    refused = await hive.submit_commit(manager, "scout", other, "x", clone.fetch(other))
    assert refused.state == "rejected"
    assert f"uid is set by the reconciler and never changes; it is {uid}" in refused.message
    mended = clone.change(path, good)
    done = await hive.submit_commit(manager, "scout", mended, "x", clone.fetch(mended))
    assert done.state == "open"


async def test_an_agent_that_left_with_files_too_deep_to_read_hides_no_other(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout
) -> None:
    await spawned(hive, manager, "scout")
    await spawned(hive, manager, "mole")
    uid = (await spec_of(hive, "mole")).spec.uid
    layout.agent(str(uid)).mkdir(parents=True)
    clone.pull()
    await accepted(hive, clone, layout, "agents/scout/agent.toml", "x = " + "[" * 5000)
    for name in ("scout", "mole"):
        await approve(hive, (await hive.submit_retire(manager, name)).n)
    assert [retired.name for retired in await hive.retired()] == ["mole"]


async def test_an_agent_whose_uid_nothing_tells_gets_none(
    hive: Hive, manager: Requester, clone: Clone, layout: Layout
) -> None:
    path = "agents/ghost/agent.toml"
    clone.write("agents/ghost/prompt.md", "Boo.\n")
    await accepted(hive, clone, layout, path, "= is no TOML\n")
    mended = clone.change(path, f'uid = "{"a" * 12}"\n')
    refused = await hive.submit_commit(manager, "ghost", mended, "x", clone.fetch(mended))
    assert refused.state == "rejected"
    assert "nothing tells which uid ghost had: retire it" in refused.message
    assert (await hive.submit_retire(manager, "ghost")).state == "open"


async def test_a_card_says_that_who_mends_gives_another_uid(
    hive: Hive,
    manager: Requester,
    clone: Clone,
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a proposal that was pinned before anybody looked."""
    await spawned(hive, manager, "scout")
    clone.pull()
    path = "agents/scout/agent.toml"
    good = clone.read(path)
    uid = tomllib.loads(good)["uid"]
    await accepted(hive, clone, layout, path, "= is no TOML\n")
    other = clone.change(path, good.replace(uid, "a" * 12))
    with monkeypatch.context() as unchecked:
        unchecked.setattr(intake, "exchanged", lambda *_: ())
        done = await hive.submit_commit(manager, "scout", other, "x", clone.fetch(other))
    assert done.state == "open", done.message
    proposal = await hive.proposal(done.n)
    assert any(f"it is {uid}" in problem for problem in proposal.problems)
    assert proposal.effect is not None
    with pytest.raises(Refused, match=f"it is {uid}"):
        await hive.approve(done.n, proposal.effect.digest, "root")


async def test_a_push_takes_no_uid_of_an_agent_that_stays(
    hive: Hive, user: Requester, clone: Clone, push: Push
) -> None:
    await spawned(hive, user, "scout")
    clone.pull()
    clone.write("agents/spy/agent.toml", clone.read("agents/scout/agent.toml"))
    clone.commit("Copy scout")
    push("spy")
    (done,) = await hive.import_inbox()
    assert done.state == "rejected"
    assert "sets uid; leave it out" in done.message


async def test_defaults_show_at_every_agent(
    hive: Hive, manager: Requester, clone: Clone, push: Push
) -> None:
    await spawned(hive, manager, "scout")
    clone.pull()
    before = (await spec_of(hive, "scout")).revision
    text = clone.read("hive.toml").replace("[defaults]\n", '[defaults]\nmodel = "other"\n')
    clone.change("hive.toml", text)
    push("model")
    (done,) = await hive.import_inbox()
    effect = (await hive.proposal(done.n)).effect
    assert effect is not None
    assert {(c.agent, c.field) for c in effect.changes} == {
        ("", "defaults.model"),
        ("hm1nd", "model"),
        ("scout", "model"),
    }
    assert {(a.kind, a.agent) for a in effect.actions} == {("update", "hm1nd"), ("update", "scout")}
    await approve(hive, done.n)
    assert (await spec_of(hive, "scout")).revision != before
    assert (await spec_of(hive, "scout")).spec.model == "other"


async def test_bounds_are_those_of_before_the_merge(
    hive: Hive, manager: Requester, clone: Clone, push: Push
) -> None:
    """One commit cannot widen the policy and use it."""
    await spawned(hive, manager, "scout")
    clone.pull()
    text = clone.read("hive.toml")
    wider = text.replace("[policy]\n", '[policy]\nmax_memory = "64G"\n')
    wider = wider.replace('max_memory = "8G"\n', "")
    clone.write("hive.toml", wider)
    agent = clone.read("agents/scout/agent.toml")
    clone.change("agents/scout/agent.toml", agent + '\n[limits]\nmemory = "16G"\n')
    push("both")
    (done,) = await hive.import_inbox()
    assert (done.state, "16G is above 8G" in done.message) == ("rejected", True), done.message
    clone.pull()
    clone.write("hive.toml", wider)
    clone.commit("wider")
    push("one")
    (done,) = await hive.import_inbox()
    await approve(hive, done.n)
    clone.pull()
    clone.change("agents/scout/agent.toml", agent + '\n[limits]\nmemory = "16G"\n')
    push("other")
    (done,) = await hive.import_inbox()
    assert done.state == "open", done.message


async def test_contradictions_of_two_good_commits_show_on_the_merged_tree(
    hive: Hive, manager: Requester, clone: Clone, push: Push
) -> None:
    """Each is fine where it was made; together they would be two managers, or one uid twice. git
    merges all of them without a conflict."""
    for name in ("a", "b", "c"):
        await spawned(hive, manager, name)
    clone.pull()
    start = git(clone.path, "rev-parse", "HEAD")

    def role(name: str, role: str) -> None:
        path = f"agents/{name}/agent.toml"
        lines = [line for line in clone.read(path).splitlines() if not line.startswith("role")]
        clone.write(path, "\n".join([f'role = "{role}"', *lines]) + "\n")

    async def asked(topic: str) -> int:
        clone.commit(topic)
        push(topic)
        git(clone.path, "reset", "-q", "--hard", start)
        (done,) = await hive.import_inbox()
        assert done.state == "open", done.message
        return done.n

    numbers = {}
    for name in ("a", "b"):
        role("hm1nd", "agent")
        role(name, "manager")
        numbers[name] = await asked(f"manager-{name}")
    for name in ("d", "e"):
        git(clone.path, "mv", "agents/c", f"agents/{name}")
        numbers[name] = await asked(f"c-is-{name}")

    await approve(hive, numbers["a"])
    await approve(hive, numbers["d"])
    for key, said in (
        ("b", "there would be 2 managers: a, b"),
        ("e", "has the uid of"),
    ):
        card = await hive.proposal(numbers[key])
        assert not card.needs_rebase, key
        assert any(said in problem for problem in card.problems), (key, card.problems)
        with pytest.raises(Refused, match=said):
            await approve(hive, numbers[key])
