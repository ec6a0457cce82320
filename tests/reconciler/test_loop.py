"""The loop, with real git and sockets over a runtime and a broker that are doubles."""

import asyncio
import os
import threading
from dataclasses import replace

import pytest

from hive_reconciler.app.serving import user_name
from hive_reconciler.core import loop
from hive_reconciler.model.plan import Blocked, Plan
from hive_reconciler.runtime.base import Phase, RuntimeFailure
from hive_wire.rpc_errors import CONFLICT, REFUSED, UNAVAILABLE, RpcError


def verbs(swarm, name):
    return [verb for verb, container in swarm.runtime.done if container == name]


async def test_the_manager_comes_up_and_is_told_to_broker(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    assert verbs(swarm, "hm1nd") == ["start"]
    assert [a.name for a in swarm.broker.registry.agents] == ["hm1nd"]
    uid = swarm.uid("hm1nd")
    assert (swarm.layout.agent_run(uid) / "agent.json").exists()
    assert (swarm.layout.agent_run(uid) / "model").is_dir()
    assert (swarm.layout.agent(uid) / "state").is_dir()
    spec = swarm.runtime.specs["hm1nd"]
    assert "/run/hive-applied.git" in {str(b.target) for b in spec.binds}
    status = await swarm.host.request("status")
    assert status["agents"][0]["in_sync"] is True
    assert status["stale"] is None


async def test_a_spawn_is_approved_comes_up_and_the_requester_hears(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    answer = await swarm.requests.request(
        "submit",
        {"uid": swarm.uid("hm1nd"), "kind": "spawn", "agent": "scout", "description": "looks"},
    )
    assert answer["state"] == "open"
    await swarm.approve(answer["proposal"])
    await swarm.until(lambda: swarm.is_ready("scout"))
    await swarm.until(lambda: swarm.broker.sent("spawned"))
    kinds = [m["kind"] for m in swarm.broker.system.values()]
    assert kinds == ["approval_resolved", "applied_moved", "spawned"]
    assert {m["to"] for m in swarm.broker.system.values()} == {"hm1nd"}
    assert "git -C /hive pull" in swarm.broker.sent("applied_moved")[0]["body"]
    assert {a.name for a in swarm.broker.registry.agents} == {"hm1nd", "scout"}
    assert swarm.broker.roomless == []  # broker and gateway bind in them at once
    listed = await swarm.requests.request("list", {"uid": swarm.uid("hm1nd")})
    assert {a["name"]: a["ready"] for a in listed["agents"]} == {"hm1nd": True, "scout": True}


async def test_a_denied_request_is_told_with_its_reason(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    answer = await swarm.requests.request(
        "submit", {"uid": swarm.uid("hm1nd"), "kind": "spawn", "agent": "scout", "description": ""}
    )
    await swarm.host.request("deny", {"n": answer["proposal"], "reason": "not today"})
    await swarm.until(lambda: swarm.broker.sent("approval_resolved"))
    told = swarm.broker.sent("approval_resolved")[0]
    assert told["data"]["outcome"] == "denied"
    assert "not today" in told["body"]


async def test_a_busy_turn_is_never_killed_and_the_stop_follows_its_end(swarm):
    await swarm.spawn("scout")
    uid = swarm.uid("scout")
    swarm.broker.begin(uid, "7.1")
    answer = await swarm.host.request("power", {"agent": "scout", "action": "stop"})
    assert answer["state"] == "merged"
    await swarm.until(lambda: ("hold", uid) in swarm.broker.log)
    await swarm.until(lambda: swarm.condition("scout", "Reconciling").reason == "Draining")
    assert "7.1" in swarm.condition("scout", "Reconciling").message
    assert "stop" not in verbs(swarm, "h-scout")
    swarm.broker.end(uid)
    await swarm.until(lambda: "stop" in verbs(swarm, "h-scout"))
    log = [verb for verb, who in swarm.broker.log if who == uid]
    assert log.index("fence") > log.index("hold")
    await swarm.until(lambda: not swarm.broker.holds and not swarm.broker.fenced)
    await swarm.until(lambda: swarm.condition("scout", "Ready").reason == "Stopped")
    plan = await swarm.host.request("plan")
    assert plan["changes"] == 0


async def test_a_busy_turn_of_a_retired_agent_is_not_killed_either(swarm):
    await swarm.spawn("scout")
    uid = swarm.uid("scout")
    swarm.broker.begin(uid, "7.1")
    answer = await swarm.host.request("retire", {"agent": "scout"})
    await swarm.approve(answer["proposal"])
    await swarm.until(lambda: ("hold", uid) in swarm.broker.log)
    await swarm.host.request("reconcile", {"wait": True})
    await swarm.host.request("reconcile", {"wait": True})
    assert "stop" not in verbs(swarm, "h-scout")
    swarm.broker.end(uid)
    await swarm.until(lambda: "destroy" in verbs(swarm, "h-scout"))
    await swarm.until(lambda: {a.name for a in swarm.broker.registry.agents} == {"hm1nd"})


async def test_now_interrupts(swarm):
    await swarm.spawn("scout")
    uid = swarm.uid("scout")
    swarm.broker.begin(uid)
    await swarm.host.request("power", {"agent": "scout", "action": "stop", "now": True})
    await swarm.until(lambda: "stop" in verbs(swarm, "h-scout"))
    assert ("interrupt", uid) in swarm.broker.log
    by = f"; at once, as {user_name(os.geteuid())} asked"
    await swarm.until(lambda: swarm.core.picture.memory[uid].past[0].message.endswith(by))


async def test_now_hurries_a_drain_that_waits(swarm):
    await swarm.spawn("scout")
    uid = swarm.uid("scout")
    swarm.broker.begin(uid)
    await swarm.host.request("power", {"agent": "scout", "action": "restart"})
    await swarm.until(lambda: swarm.condition("scout", "Reconciling").reason == "Draining")
    await swarm.host.request("power", {"agent": "scout", "action": "restart", "now": True})
    await swarm.until(lambda: verbs(swarm, "h-scout") == ["start", "stop", "start"])
    assert ("interrupt", uid) in swarm.broker.log


async def test_a_drain_is_called_off_when_it_is_not_wanted_any_more(swarm):
    await swarm.spawn("scout")
    uid = swarm.uid("scout")
    swarm.broker.begin(uid)
    await swarm.host.request("power", {"agent": "scout", "action": "stop"})
    await swarm.until(lambda: uid in swarm.broker.holds)
    await swarm.host.request("power", {"agent": "scout", "action": "start"})
    await swarm.until(lambda: uid not in swarm.broker.holds)
    await swarm.until(lambda: swarm.is_ready("scout"))
    assert verbs(swarm, "h-scout") in (["start"], ["start", "update"])


async def test_a_fence_of_a_former_process_is_lifted(layout):
    from .conftest import Swarm

    swarm = Swarm(layout)
    layout.make_run()
    swarm.broker.fenced.add("abcdefabcdef")
    await swarm.broker.start()
    await swarm.open()
    await swarm.until(lambda: ("unfence", "abcdefabcdef") in swarm.broker.log)
    await swarm.close()
    await swarm.broker.stop()


async def test_a_fence_that_could_not_be_lifted_is_lifted_later(swarm, monkeypatch):
    await swarm.spawn("scout")
    uid, ask = swarm.uid("scout"), swarm.core.broker._ask
    refused = []

    async def away_once(method, **params):
        if method == "unfence" and not refused:
            refused.append(params["uid"])
            raise RpcError(UNAVAILABLE, "the broker is away")
        return await ask(method, **params)

    monkeypatch.setattr(swarm.core.broker, "_ask", away_once)
    await swarm.host.request("power", {"agent": "scout", "action": "stop"})
    await swarm.until(lambda: refused == [uid])
    await swarm.until(lambda: not swarm.broker.fenced)


async def test_a_fence_is_lifted_later_where_what_lifts_it_is_called_off(swarm, monkeypatch):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    uid, core, ask = swarm.uid("hm1nd"), swarm.core, swarm.core.broker._ask

    async def hangs(method, **params):
        if method == "unfence":
            await asyncio.Event().wait()
        return await ask(method, **params)

    swarm.broker.fenced.add(uid)
    with monkeypatch.context() as slow:
        slow.setattr(core.broker, "_ask", hangs)
        lifting = asyncio.create_task(core.broker.unfence(uid))
        await asyncio.sleep(0)
        lifting.cancel()
        await asyncio.wait([lifting])
    core.wake()
    await swarm.until(lambda: not swarm.broker.fenced)


async def test_while_nothing_can_be_read_what_is_due_spins_no_loop(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    await swarm.close()  # nothing wakes it
    core = swarm.core
    core.picture.plan = Plan("c", (), (Blocked("a", "u", "Failed", "no", 1.0),))  # long due
    core.picture.stalled = ("ObserveFailed", "cgroups are not readable")
    core._wake.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await core._rest()
    await swarm.open()


async def test_without_broker_a_container_counts_as_busy(swarm):
    await swarm.spawn("scout")
    await swarm.broker.stop()
    await swarm.host.request("power", {"agent": "scout", "action": "stop"})
    await swarm.until(lambda: swarm.condition("scout", "Reconciling").reason == "WaitingForBroker")
    assert swarm.condition("scout", "Ready").status == "Unknown"
    assert "stop" not in verbs(swarm, "h-scout")
    await swarm.broker.start()
    await swarm.until(lambda: "stop" in verbs(swarm, "h-scout"))


async def test_a_crash_is_restarted_told_and_shown(swarm):
    await swarm.spawn("scout")
    swarm.runtime.crash("h-scout", 139)
    await swarm.until(lambda: swarm.condition("scout", "Healthy").reason == "CrashLoop")
    await swarm.until(lambda: verbs(swarm, "h-scout") == ["start", "start"])
    await swarm.until(lambda: swarm.broker.sent("container_crash"))
    assert "139" in swarm.broker.sent("container_crash")[0]["body"]


async def test_one_bad_agent_never_delays_another(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    swarm.runtime.slow["h-slow"] = asyncio.Event()
    swarm.runtime.failures["h-bad"] = RuntimeFailure("Failed", "no cgroup")
    for name in ("slow", "bad"):
        answer = await swarm.host.request("spawn", {"name": name, "description": ""})
        await swarm.approve(answer["proposal"])
    await swarm.spawn("good")
    assert swarm.condition("slow", "Reconciling").reason == "Starting"
    assert swarm.condition("bad", "Healthy").message == "no cgroup"
    del swarm.runtime.failures["h-bad"]
    swarm.runtime.slow["h-slow"].set()
    await swarm.until(lambda: swarm.is_ready("slow") and swarm.is_ready("bad"))


async def test_a_missing_engine_stalls_with_its_cure_until_it_is_there(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    swarm.tools = replace(swarm.tools, claude_problem="install it: npm install -g x")
    settings = {"engine": "claude"}
    answer = await swarm.host.request(
        "spawn", {"name": "scout", "description": "", "settings": settings}
    )
    await swarm.approve(answer["proposal"])
    await swarm.until(
        lambda: (
            swarm.condition("scout", "Stalled")
            and swarm.condition("scout", "Stalled").reason == "EngineMissing"
        )
    )
    assert "npm install" in swarm.condition("scout", "Stalled").message
    swarm.tools = replace(swarm.tools, claude_problem="")
    await swarm.host.request("reconcile", {"wait": True})
    await swarm.until(lambda: swarm.is_ready("scout"))


async def test_a_restarted_reconciler_adopts_and_changes_nothing(swarm):
    await swarm.spawn("scout")
    told = len(swarm.broker.system)
    await swarm.close()
    swarm.runtime.done.clear()
    await swarm.open()
    await swarm.until(lambda: swarm.is_ready("scout") and swarm.is_ready("hm1nd"))
    assert swarm.runtime.done == []
    assert len(swarm.broker.system) == told


async def test_a_failed_observation_changes_nothing(swarm):
    await swarm.spawn("scout")

    async def broken():
        raise RuntimeFailure("ObserveFailed", "cgroups are not readable")

    whole, swarm.runtime.observe = swarm.runtime.observe, broken
    await swarm.host.request("reconcile", {"wait": True})
    status = await swarm.host.request("status")
    assert "cgroups are not readable" in status["stale"]
    assert verbs(swarm, "h-scout") == ["start"]
    swarm.runtime.observe = whole
    swarm.core.wake()
    await swarm.until(lambda: swarm.core.picture.stalled is None)


async def test_a_round_that_breaks_off_is_not_shown_as_live(swarm):
    await swarm.spawn("scout")
    done = list(swarm.runtime.done)

    async def broken():
        raise ValueError("nobody foresaw this")

    whole, swarm.runtime.observe = swarm.runtime.observe, broken
    answer = await swarm.host.request("reconcile", {"wait": True})
    assert answer["plan"] is None
    stale = (await swarm.host.request("status"))["stale"]
    assert "nobody foresaw this" in stale
    assert "logs/reconciler.log" in stale
    swarm.runtime.observe = whole
    assert (await swarm.host.request("reconcile", {"wait": True}))["plan"] is not None
    assert (await swarm.host.request("status"))["stale"] is None
    assert swarm.runtime.done == done


async def test_a_disk_that_hangs_is_said_and_waited_out(swarm, monkeypatch):
    await swarm.spawn("scout")
    core, goes_on = swarm.core, threading.Event()
    save = core.keeper._memory.save

    def hangs(kept):
        goes_on.wait()
        save(kept)

    monkeypatch.setattr(core.keeper._memory, "save", hangs)
    monkeypatch.setattr(loop, "ROUND_DEADLINE", 0.2)
    before = revision(swarm, "scout")
    await swarm.host.request("power", {"agent": "scout", "action": "restart"})
    await swarm.until(lambda: revision(swarm, "scout") != before and core.picture.stalled)
    assert (await swarm.host.request("status"))["stale"].startswith("Deadline: the round did not")
    assert swarm.runtime.containers["h-scout"].revision == before
    goes_on.set()
    monkeypatch.setattr(loop, "ROUND_DEADLINE", 60.0)
    core.wake()
    newest = revision(swarm, "scout")
    await swarm.until(lambda: swarm.runtime.containers["h-scout"].revision == newest)
    await swarm.until(lambda: swarm.is_ready("scout") and core.picture.stalled is None)


def revision(swarm, name):
    return swarm.core.picture.desired.agents[name].revision


async def test_shutdown_stops_everything_and_starts_nothing_again(swarm):
    await swarm.spawn("scout")
    swarm.broker.begin(swarm.uid("scout"))
    answer = await swarm.host.request("shutdown", {"by": "me"})
    assert set(answer["stopped"]) == {"hm1nd", "h-scout"}
    assert {o.phase for o in swarm.runtime.containers.values()} == {Phase.STOPPED}
    await swarm.host.request("reconcile", {"wait": True})
    assert {o.phase for o in swarm.runtime.containers.values()} == {Phase.STOPPED}
    assert swarm.condition("scout", "Suspended").status == "True"
    await swarm.close()
    await swarm.open()
    await swarm.until(lambda: swarm.is_ready("scout"))


async def test_approving_another_effect_than_shown_is_a_conflict(swarm):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    answer = await swarm.host.request("spawn", {"name": "scout", "description": ""})
    with pytest.raises(RpcError) as caught:
        await swarm.host.request("approve", {"n": answer["proposal"], "effect": "0" * 64})
    assert caught.value.code == CONFLICT


async def test_only_the_manager_may_ask(swarm):
    await swarm.spawn("scout")
    with pytest.raises(RpcError) as caught:
        await swarm.requests.request(
            "submit", {"uid": swarm.uid("scout"), "kind": "spawn", "agent": "x", "description": ""}
        )
    assert caught.value.code == REFUSED
    with pytest.raises(RpcError, match="no method"):
        await swarm.requests.request("approve", {"n": 1, "effect": "0" * 64})


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("spawn", {"name": "../x", "description": ""}, "no agent name"),
        ("spawn", {"name": "operator", "description": ""}, "reserved"),
        ("spawn", {"name": "x", "colour": "red"}, "colour"),
        ("power", {"agent": "nobody", "action": "stop"}, "nobody"),
        ("logs", {"name": "nobody"}, "nobody"),
        ("approve", {"n": 0, "effect": "x"}, "n:"),
        ("proposal", {"n": 99}, "99"),
        ("plan", {"rev": "no-such-rev"}, "no-such-rev"),
    ],
)
async def test_bad_requests_say_what_is_wrong(swarm, method, params, words):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    with pytest.raises(RpcError) as caught:
        await swarm.host.request(method, params)
    assert words in caught.value.message


async def test_the_broker_is_asked_again_only_after_an_event(swarm, monkeypatch):
    await swarm.until(lambda: swarm.is_ready("hm1nd") and swarm.core._is_calm)
    await swarm.core.round()
    before, asked = swarm.core.picture.statuses, []
    ask = swarm.core.broker.agents

    async def counted(*uids):
        asked.append(1)
        return await ask(*uids)

    monkeypatch.setattr(swarm.core.broker, "agents", counted)
    await swarm.core.round()
    assert swarm.core.picture.statuses is before
    assert not asked
    uid = next(iter(before))
    swarm.broker.offline(uid)
    await swarm.until(lambda: asked)
    await swarm.until(lambda: not swarm.core.picture.statuses[uid].ready)
