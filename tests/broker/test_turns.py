"""Turns over the real sockets: hellos, endings, retries, holds, crashes of either side."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest
from support.broker_rig import agent, connected, rig, until

from hive_wire.jsonrpc import BUSY, PeerGone, RpcError

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


async def events(hive, *kinds: str) -> list[dict]:
    return (await hive.ask("events", kinds=list(kinds), limit=1000, after=0))["events"]


async def test_one_turn_at_a_time_and_in_order(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        ids = [(await hive.ask("send", to="scout", body=f"n{n}", by="ann"))["id"] for n in range(5)]
        scout = await hive.harness(A)
        for n, ident in enumerate(ids):
            grant = await scout.granted()
            assert grant["turn"] == f"{ident}.1"
            assert grant["unread"] == len(ids) - n - 1
            assert scout.grants.empty()
            status = await hive.status(A)
            assert status["turn"] == grant["turn"]
            assert status["queued"] == grant["unread"]
            await scout.end(grant["turn"], cost_usd=0.25, usage={"input_tokens": 7})
        ended = await events(hive, "turn.ended")
        assert [e["turn"] for e in ended] == [f"{i}.1" for i in ids]
        assert ended[0]["data"]["usage"]["input_tokens"] == 7


async def test_a_turn_is_ended_once_whatever_is_repeated(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="x", by="ann")
        turn = (await scout.granted())["turn"]
        await asyncio.gather(*(scout.end(turn) for _ in range(5)))
        await scout.end(turn, "failed", counted=True, cause="model_error")
        again = {"turn": turn, "outcome": "failed", "cause": "stopped"}
        assert (await scout.hello(ended=[again]))["confirmed"] == [turn]
        await scout.end("999.1")
        assert len(await events(hive, "turn.ended")) == 1
        assert scout.grants.empty()


async def test_a_failure_is_tried_again_five_times_and_then_people_see_it(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "boss"))
        boss, scout = await hive.harness(B), await hive.harness(A)
        tools = await hive.tools(B)
        sent = await tools.call("send", to="scout", body="impossible")
        for attempt in range(1, 6):
            grant = await scout.granted()
            assert grant["turn"] == f"{sent['id']}.{attempt}"
            await scout.end(grant["turn"], "failed", counted=True, cause="model_error")
        notice = await boss.granted()
        assert notice["message"]["kind"] == "dead_letter"
        assert notice["message"]["data"]["message"] == sent["id"]
        [dead] = (await hive.ask("dead"))["dead"]
        assert (dead["id"], dead["agent"], dead["attempts"]) == (sent["id"], "scout", 5)
        assert dead["cause"] == "model_error"
        assert dead["message"]["body"] == "impossible"
        assert (await hive.status(A))["dead"] == 1
        await hive.ask("dead.retry", id=sent["id"], agent="scout", by="ann")
        assert (await scout.granted())["turn"] == f"{sent['id']}.6"
        for attempt in range(6, 11):
            await scout.end(f"{sent['id']}.{attempt}", "failed", counted=True, cause="refused")
        await until(lambda: _dead(hive), "dead again")
        await hive.ask("dead.drop", id=sent["id"], agent=A, by="ann")
        assert not await _dead(hive)
        with pytest.raises(RpcError, match="is not dead"):
            await hive.ask("dead.retry", id=sent["id"], agent="scout", by="ann")


async def _dead(hive) -> list:
    return (await hive.ask("dead"))["dead"]


async def test_an_uncounted_failure_waits_and_is_never_counted(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="x", by="ann")
        turn, began = (await scout.granted())["turn"], time.monotonic()
        await scout.end(turn, "failed", cause="overloaded")
        again = await scout.granted()
        assert again["turn"].endswith(".2")
        assert 0.9 < time.monotonic() - began < 5
        began = time.monotonic()
        at = time.time() + 0.3
        await scout.end(again["turn"], "failed", cause="rate_limit", retry_at=at)
        assert (await scout.granted())["turn"].endswith(".3")
        assert 0.25 < time.monotonic() - began < 5


async def test_a_lost_connection_costs_nothing(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="x", by="ann")
        turn = (await scout.granted())["turn"]
        scout.close()
        await until(lambda: _offline(hive), "offline")
        assert (await hive.status(A))["turn"] == turn
        welcome = await scout.hello(running={"turn": turn})
        assert welcome["resume"]["turn"] == turn
        assert welcome["drop"] is False
        await scout.end(turn)
        assert scout.grants.empty()


async def _offline(hive) -> bool:
    return not (await hive.status(A))["ready"]


async def test_a_grant_that_was_never_heard_comes_again(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="x", by="ann")
        turn = (await scout.granted())["turn"]
        welcome = await scout.hello()  # the same boot knows nothing of it
        assert welcome["resume"] is None
        assert (await scout.granted())["turn"] == turn


async def test_a_new_boot_that_knows_nothing_gets_the_next_attempt(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        sent = await hive.ask("send", to="scout", body="x", by="ann")
        await scout.granted()
        await scout.hello(boot=str(uuid.uuid4()))
        assert (await scout.granted())["turn"] == f"{sent['id']}.2"
        [ended] = await events(hive, "turn.ended")
        assert (ended["data"]["cause"], ended["data"]["counted"]) == ("restarted", False)


async def test_a_new_boot_goes_on_with_what_runs(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="x", by="ann")
        turn = (await scout.granted())["turn"]
        welcome = await scout.hello(boot=str(uuid.uuid4()), running={"turn": turn})
        assert welcome["resume"]["turn"] == turn
        assert welcome["resume"]["message"]["body"] == "x"
        await scout.end(turn)


async def test_a_turn_that_does_not_stand_is_dropped(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="x", by="ann")
        turn = (await scout.granted())["turn"]
        await scout.end(turn)
        welcome = await scout.hello(running={"turn": turn})
        assert (welcome["resume"], welcome["drop"]) == (None, True)


async def test_a_second_hello_fences_the_first_connection(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        old = await hive.harness(A)
        new = await hive.harness(A)
        async with asyncio.timeout(5):
            await old.peer.closed.wait()
        await hive.ask("send", to="scout", body="x", by="ann")
        turn = (await new.granted())["turn"]
        assert old.grants.empty()
        with pytest.raises(PeerGone):
            await old.end(turn)


async def test_nothing_goes_before_hello(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        stranger = await connected(hive.layout.agent_run(A) / "harness.sock")
        for method, params in (
            ("turn.end", {"turn": "1.1", "outcome": "ok"}),
            ("stream", {"rows": []}),
            ("state", {"state": "idle"}),
        ):
            with pytest.raises(RpcError, match="say hello first"):
                await stranger.request(method, params, timeout=5)
        stranger.close()
        assert (await scout.ask("stream", rows=[]))["acked"] == 0


async def test_the_broker_dies_and_nothing_is_lost_or_doubled(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        first = await hive.ask("send", to="scout", body="one", by="ann")
        second = await hive.ask("send", to="scout", body="two", by="ann")
        turn = (await scout.granted())["turn"]
        await until(lambda: events(hive, "turn.started"), "the lease is written")
        await hive.kill()
        await hive.start()
        status = await hive.status(A)  # the registry is served from disk
        assert (status["turn"], status["queued"], status["ready"]) == (turn, 1, False)
        ended = {"turn": turn, "outcome": "ok"}
        welcome = await scout.hello(ended=[ended])
        assert welcome["confirmed"] == [turn]
        assert (await scout.granted())["turn"] == f"{second['id']}.1"
        assert turn == f"{first['id']}.1"
        await scout.end(f"{second['id']}.1")
        assert (await hive.status(A))["queued"] == 0
        assert (await hive.ask("status"))["epoch"] == 2


async def test_hold_stops_delivery_and_tells_what_runs(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        assert (await hive.ask("hold", uid=A, token="t", ttl=30)) == {
            "running": None, "known": False,
        }  # fmt: skip
        scout = await hive.harness(A)  # the hello of a new boot releases
        await hive.ask("send", to="scout", body="one", by="ann")
        turn = (await scout.granted())["turn"]
        assert (await hive.ask("hold", uid=A, token="t", ttl=30)) == {
            "running": turn, "known": True,
        }  # fmt: skip
        with pytest.raises(RpcError) as refused:
            await hive.ask("hold", uid=A, token="other", ttl=1)
        assert refused.value.code == BUSY
        with pytest.raises(RpcError, match="a turn runs"):
            await hive.ask("fence", uid=A, token="t")
        await hive.ask("send", to="scout", body="two", by="ann")
        await scout.end(turn)
        await hive.ask("hold", uid=A, token="t", ttl=30)
        assert scout.grants.empty()
        assert (await hive.status(A))["held"] is True
        await hive.ask("release", uid=A, token="t")
        assert (await scout.granted())["message"]["body"] == "two"


async def test_a_hold_that_nobody_renews_is_over(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("hold", uid=A, token="t", ttl=0.4)
        await hive.ask("send", to="scout", body="one", by="ann")
        began = time.monotonic()
        await scout.granted()
        assert time.monotonic() - began > 0.2


async def test_a_fence_outlives_everything_but_a_new_boot(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        with pytest.raises(RpcError, match="not live"):
            await hive.ask("fence", uid=A, token="t")
        await hive.ask("hold", uid=A, token="t", ttl=30)
        await hive.ask("fence", uid=A, token="t")
        await hive.ask("send", to="scout", body="x", by="ann")
        await hive.kill()
        await hive.start()
        assert (await hive.ask("fences"))["uids"] == [A]
        await scout.hello()  # the same boot again
        assert (await hive.status(A))["fenced"] is True
        assert scout.grants.empty()
        await scout.hello(boot=str(uuid.uuid4()))
        assert (await scout.granted())["message"]["body"] == "x"
        assert (await hive.ask("fences"))["uids"] == []


async def test_a_fence_waits_for_a_harness_that_may_still_work(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "never"))
        scout = await hive.harness(A)
        await hive.kill()  # what it granted last may not be on disk
        await hive.start()
        assert (await hive.ask("hold", uid=A, token="t", ttl=30))["known"] is False
        with pytest.raises(RpcError, match="may run"):
            await hive.ask("fence", uid=A, token="t")
        await scout.hello()
        await hive.ask("hold", uid=A, token="t", ttl=30)
        await hive.ask("fence", uid=A, token="t")
        await hive.ask("hold", uid=B, token="t", ttl=30)
        await hive.ask("fence", uid=B, token="t")  # it never said hello at all


async def test_unfence_delivers_again(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("hold", uid=A, token="t", ttl=30)
        await hive.ask("fence", uid=A, token="t")
        await hive.ask("release", uid=A, token="t")
        await hive.ask("send", to="scout", body="x", by="ann")
        assert (await hive.status(A))["queued"] == 1
        await hive.ask("unfence", uid=A)
        await scout.granted()


@pytest.mark.parametrize("uid", [A, None])
async def test_a_pause_is_kept_and_lifted(tmp_path, uid):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        await hive.ask("pause", uid=uid, by="ann", reason="lunch")
        await hive.kill()
        await hive.start()
        scout = await hive.harness(A)
        await scout.ask("state", state="idle")
        await hive.ask("send", to="scout", body="x", by="ann")
        status = await hive.status(A)
        assert (status["state"], status["detail"]) == ("paused", "by ann: lunch")
        assert status["paused"] is True
        assert scout.grants.empty()
        await hive.ask("unpause", uid=uid, by="ann", reason="")
        await scout.granted()
        kinds = [e["kind"] for e in await events(hive, "paused", "unpaused")]
        assert kinds == ["paused", "unpaused"]


async def test_a_budget_stops_turns_and_shows_it(tmp_path):
    async with rig(tmp_path) as hive:
        budget = {"usd_per_day": 1.0, "turns_per_hour": 100}
        await hive.registry(agent(A, "scout", budget=budget))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="one", by="ann")
        await hive.ask("send", to="scout", body="two", by="ann")
        await scout.end((await scout.granted())["turn"], cost_usd=0.4)
        await scout.granted()
        await hive.ask("usage", uid=A, usage={"output_tokens": 100_000}, at=time.time())
        turn = (await hive.status(A))["turn"]
        await hive.ask("send", to="scout", body="three", by="ann")
        await scout.end(turn, cost_usd=0.1)
        status = await hive.status(A)
        assert (status["state"], status["turn"], status["queued"]) == ("paused", None, 1)
        assert "1 USD a day" in status["detail"]
        assert status["until"] > time.time() + 80_000
        await hive.kill()
        await hive.start()
        await scout.hello()
        assert (await hive.status(A))["state"] == "paused"
        budget = {"usd_per_day": 9.0, "turns_per_hour": 100}
        await hive.registry(agent(A, "scout", budget=budget))
        await scout.granted()


@pytest.mark.parametrize("restart", [False, True])
async def test_the_operator_lifts_a_budget_that_is_used_up(tmp_path, restart):
    async with rig(tmp_path) as hive:
        budget = {"usd_per_day": 1.0, "turns_per_hour": 100}
        await hive.registry(agent(A, "scout", budget=budget))
        scout = await hive.harness(A)
        for body in ("one", "two", "three"):
            await hive.ask("send", to="scout", body=body, by="ann")
        turn = (await scout.granted())["turn"]
        await hive.ask("usage", uid=A, usage={"output_tokens": 9}, usd=1.5, at=time.time())
        await scout.end(turn, cost_usd=1.2)
        assert (await hive.status(A))["state"] == "paused"
        await hive.ask("unpause", uid=None, by="ann", reason="")  # of all: no budget is lifted
        assert (await hive.status(A))["state"] == "paused"
        await hive.ask("unpause", uid=A, by="ann", reason="it is worth it")
        turn = (await scout.granted())["turn"]
        if restart:
            await hive.kill()
            await hive.start()
            await scout.hello(running={"turn": turn})
        await scout.end(turn, cost_usd=0.9)
        await scout.end((await scout.granted())["turn"], cost_usd=0.2)
        assert (await hive.status(A))["state"] == "paused"


async def test_a_retry_that_waits_says_until_when(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="x", by="ann")
        for attempt in range(3):
            turn = (await scout.granted())["turn"]
            await scout.ask("state", state="rate-limited", detail="no time was named")
            await scout.end(turn, "failed", cause="rate_limit")
            status = await hive.status(A)
            assert status["state"] == "rate-limited"
            assert abs(status["until"] - time.time() - 2**attempt) < 2


async def test_a_limit_that_only_the_gateway_saw_is_waited_for(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="x", by="ann")
        turn, until_then = (await scout.granted())["turn"], time.time() + 5000
        await hive.ask("limited", uid=A, until=until_then)
        await scout.ask("state", state="rate-limited")
        await scout.end(turn, "failed", cause="rate_limit")
        assert abs((await hive.status(A))["until"] - until_then) < 2
        assert scout.grants.empty()


async def test_a_report_of_use_counts_once_however_often_it_comes(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout", budget={"usd_per_day": 2.0, "turns_per_hour": 100}))
        scout = await hive.harness(A)
        report = {"uid": A, "usage": {"output_tokens": 100_000}}  # 1.5 USD
        at = time.time()
        await hive.ask("usage", **report, at=at)
        await hive.kill()
        await hive.start()
        await scout.hello()
        await hive.ask("usage", **report, at=at)
        assert (await hive.status(A))["state"] != "paused"
        await hive.ask("usage", **report, at=at + 0.001)
        assert (await hive.status(A))["state"] == "paused"


async def test_interrupt_and_commands_reach_the_harness(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        with pytest.raises(RpcError, match="offline"):
            await hive.ask("command", uid=A, command="compact", by="ann")
        scout = await hive.harness(A)
        await hive.ask("interrupt", uid=A, by="ann")  # nothing runs
        await hive.ask("send", to="scout", body="x", by="ann")
        turn = (await scout.granted())["turn"]
        await hive.ask("interrupt", uid=A, by="ann")
        scout.answers["command"] = lambda *_: {"text": "done"}
        answer = await hive.ask("command", uid=A, command="model", argument="m", by="ann")
        assert answer == {"text": "done"}
        assert scout.asked.get_nowait() == ("interrupt", {"turn": turn})
        assert scout.asked.get_nowait() == ("command", {"command": "model", "argument": "m"})


async def test_states_are_shown_with_their_age(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        assert (await hive.status(A))["state"] == "offline"
        scout = await hive.harness(A)
        await scout.ask("state", state="rate-limited", detail="five hours", until=5e9)
        status = await hive.status(A)
        assert (status["state"], status["until"]) == ("rate-limited", 5e9)
        assert abs(status["since"] - time.time()) < 10
        scout.close()
        await until(lambda: _offline(hive), "offline")
        await until(lambda: _states(hive, ["starting", "rate-limited", "offline"]), "states")
        kinds = [e["kind"] for e in await events(hive, "ready", "offline")]
        assert kinds == ["ready", "offline"]


async def _states(hive, expected: list[str]) -> bool:
    return [e["data"]["state"] for e in await events(hive, "state")] == expected
