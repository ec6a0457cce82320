"""What people see of the loop's doings: outcomes, events, figures; failed deploys; purges."""

import asyncio
import json
import os

import pytest

from hive_reconciler.core.purge import purge
from hive_reconciler.runtime.base import RuntimeFailure
from hive_wire.rpc_errors import NOT_FOUND, RpcError

PERMANENT = RuntimeFailure("NoIsolation", "nothing keeps agents apart", permanent=True)


async def allow_auto_revert(swarm):
    """A person writes it into hive.toml."""
    from hive_reconciler.git.store import APPLIED
    from hive_reconciler.model.tree import FILE

    all_ = swarm.hive._all

    def write():
        tip = all_.history.tip()
        tree = all_.store.tree_of(tip)
        from hive_reconciler.git.durable import RefChange
        from hive_reconciler.git.trees import Entry

        text = all_.trees.file(tree, "hive.toml").decode()
        text = text.replace("[policy]", "[policy]\nauto_revert = true")
        assert "auto_revert = true" in text
        tree = all_.trees.put(tree, "hive.toml", Entry(FILE, all_.trees.write_blob(text.encode())))
        commit = all_.trees.write_commit(all_.store.commit_text("by hand\n", tree, (tip,)))
        all_.store.land((), RefChange(APPLIED, commit, tip))
        return commit

    commit = await swarm.hive._thread.run(write)
    await swarm.host.request("accept", {"oid": commit, "reason": "a test"})


async def test_outcomes_events_and_figures_tell_what_was_done(swarm):
    await swarm.spawn("scout")
    swarm.runtime.crash("h-scout", 139)
    await swarm.until(lambda: swarm.runtime.done.count(("start", "h-scout")) == 2)
    await swarm.until(lambda: swarm.is_ready("scout"))
    status = await swarm.host.request("status")
    scout = next(a for a in status["agents"] if a["name"] == "scout")
    kinds = [(o["kind"], o["result"]) for o in scout["outcomes"]]
    assert {("create", "Done"), ("crash", "Crashed"), ("start", "Done")} <= set(kinds)
    found = (await swarm.host.request("events", {"agent": "scout"}))["events"]
    assert ("Healthy", "CrashLoop") in {(e["type"], e["reason"]) for e in found}
    after = found[-2]["id"]
    news = (await swarm.host.request("events", {"agent": "scout", "after": after}))["events"]
    assert news[0]["id"] > after
    text = (await swarm.host.request("metrics"))["text"]
    assert 'hive_reconcile_actions_total{kind="create",result="Done"} 2' in text
    assert 'workqueue_depth{name="agents"} 0' in text
    assert "hive_reconcile_terminal_errors_total 0" in text
    assert 'condition="Ready",status="True",reason="Hello"' in text


async def test_reconcile_waits_for_its_own_round(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    before = (await swarm.host.request("status"))["round"]
    answers = await asyncio.gather(
        *(swarm.host.request("reconcile", {"wait": True}) for _ in range(5))
    )
    assert all(a["round"] > before and a["plan"]["changes"] == 0 for a in answers)
    asked = (await swarm.host.request("reconcile", {"wait": False}))["round"]
    await swarm.until(lambda: swarm.core.rounds.served >= asked)


async def test_a_failed_deploy_is_recorded_and_told_once(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    swarm.runtime.failures["h-scout"] = PERMANENT
    answer = await swarm.host.request("spawn", {"name": "scout", "description": ""})
    await swarm.approve(answer["proposal"])
    await swarm.until(lambda: swarm.broker.sent("rebuilt"))
    told = swarm.broker.sent("rebuilt")[0]
    assert "nothing keeps agents apart" in told["body"]
    shown = await swarm.host.request("proposal", {"n": answer["proposal"]})
    assert shown["deployed"].startswith("failed: NoIsolation")
    assert swarm.uid("scout") is not None, "without the policy nothing is reverted"


async def test_auto_revert_answers_a_failed_deploy(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    await allow_auto_revert(swarm)
    swarm.runtime.failures["h-scout"] = PERMANENT
    answer = await swarm.host.request("spawn", {"name": "scout", "description": ""})
    await swarm.approve(answer["proposal"])
    await swarm.until(lambda: swarm.broker.sent("rebuilt"))
    data = swarm.broker.sent("rebuilt")[0]["data"]
    revert = await swarm.host.request("proposal", {"n": data["reverted_by"]})
    assert (revert["kind"], revert["state"]) == ("revert", "merged")
    await swarm.until(lambda: swarm.uid("scout") is None)
    await swarm.host.request("reconcile", {"wait": True})
    found = await swarm.host.request("proposals", {})
    assert len(found["proposals"]) == 2, "the revert is not reverted"


async def test_what_a_killed_process_left_open_is_told_and_not_resumed(swarm, layout):
    await swarm.spawn("scout")
    uid = swarm.uid("scout")
    await swarm.close()
    swarm.runtime.done.clear()
    left = {"uid": uid, "agent": "scout", "kind": "restart", "revision": "r", "since": 1.0}
    (layout.reconciler / "journal.json").write_text(json.dumps([left]))
    await swarm.open()
    await swarm.until(lambda: swarm.is_ready("scout"))
    assert swarm.runtime.done == []
    assert swarm.core.picture.memory[uid].past[0].result == "Interrupted"
    assert json.loads((layout.reconciler / "journal.json").read_text()) == []


async def test_a_purge_removes_what_a_retired_agent_left_and_follows_no_link(swarm, layout):
    await swarm.spawn("scout")
    uid = swarm.uid("scout")
    with pytest.raises(RpcError) as caught:
        await swarm.host.request("purge", {"agent": "scout"})
    assert caught.value.code == NOT_FOUND
    outside = layout.root / "precious"
    outside.mkdir()
    (outside / "file").write_text("keep")
    os.symlink(outside, layout.agent(uid) / "state" / "link")
    os.symlink("/", layout.agent(uid) / "claude" / "root")
    answer = await swarm.host.request("retire", {"agent": "scout"})
    await swarm.approve(answer["proposal"])
    await swarm.until(lambda: ("destroy", "h-scout") in swarm.runtime.done)
    assert layout.agent(uid).is_dir()
    assert (await swarm.host.request("purge", {"agent": "scout"}))["purged"] == [uid]
    assert not layout.agent(uid).exists()
    assert (outside / "file").read_text() == "keep"
    assert [n for n in os.listdir(layout.root / "agents") if n.startswith(".")] == []
    with pytest.raises(RpcError):
        await swarm.host.request("purge", {"agent": "scout"})


async def test_of_a_purge_and_a_revive_at_once_one_is_refused(swarm, layout, monkeypatch):
    await swarm.spawn("scout")
    uid = swarm.uid("scout")
    retired = await swarm.host.request("retire", {"agent": "scout"})
    await swarm.approve(retired["proposal"])
    await swarm.until(lambda: ("destroy", "h-scout") in swarm.runtime.done)
    await swarm.host.request("reconcile", {"wait": True})
    revive = await swarm.host.request("revive", {"agent": "scout"})
    observe, refused = swarm.runtime.observe, []

    async def meanwhile():
        """The purge looks what runs; somebody approves in that moment."""
        monkeypatch.setattr(swarm.runtime, "observe", observe)
        try:
            await swarm.approve(revive["proposal"])
        except RpcError as error:
            refused.append(str(error))
        return await observe()

    monkeypatch.setattr(swarm.runtime, "observe", meanwhile)
    assert (await swarm.host.request("purge", {"agent": "scout"}))["purged"] == [uid]
    (said,) = refused
    assert "nothing is kept of scout" in said
    assert not layout.agent(uid).exists()
    assert (await swarm.host.request("proposal", {"n": revive["proposal"]}))["state"] == "open"


async def test_a_purge_that_has_to_wait_leaves_the_agent_to_be_revived(swarm, layout, monkeypatch):
    await swarm.spawn("scout")
    uid = swarm.uid("scout")
    scout = swarm.runtime.containers["h-scout"]
    retired = await swarm.host.request("retire", {"agent": "scout"})
    await swarm.approve(retired["proposal"])
    await swarm.until(lambda: ("destroy", "h-scout") in swarm.runtime.done)
    await swarm.host.request("reconcile", {"wait": True})
    observe = swarm.runtime.observe

    async def once():
        monkeypatch.setattr(swarm.runtime, "observe", observe)
        return (scout,)

    monkeypatch.setattr(swarm.runtime, "observe", once)
    with pytest.raises(RpcError, match="still runs"):
        await swarm.host.request("purge", {"agent": "scout"})
    assert layout.agent(uid).is_dir()
    revive = await swarm.host.request("revive", {"agent": "scout"})
    await swarm.approve(revive["proposal"])
    await swarm.until(lambda: swarm.uid("scout") == uid)


@pytest.mark.parametrize("uid", ["../../etc", "", "abc", "abcdefabcdef/..", "ABCDEFABCDEF"])
def test_only_a_uid_is_purged(layout, uid):
    with pytest.raises(ValueError, match="no uid"):
        purge(layout, uid)
