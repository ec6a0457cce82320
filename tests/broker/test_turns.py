"""Turns over the real sockets: hellos, endings, retries, crashes of either side."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest
from support.broker_rig import agent, connected, until

from hive_wire.rpc_errors import PeerGone, RpcError

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


async def test_one_turn_at_a_time_and_in_order(hive):
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
    ended = await hive.events("turn.ended")
    assert [e["turn"] for e in ended] == [f"{i}.1" for i in ids]
    assert ended[0]["data"]["usage"]["input_tokens"] == 7


async def test_a_turn_is_ended_once_whatever_is_repeated(hive):
    await hive.registry(agent(A, "scout"))
    scout = await hive.harness(A)
    await hive.ask("send", to="scout", body="x", by="ann")
    turn = (await scout.granted())["turn"]
    await asyncio.gather(*(scout.end(turn) for _ in range(5)))
    await scout.end(turn, "failed", counted=True, cause="model_error")
    again = {"turn": turn, "outcome": "failed", "cause": "stopped"}
    assert (await scout.hello(ended=[again]))["confirmed"] == [turn]
    await scout.end("999.1")
    assert len(await hive.events("turn.ended")) == 1
    assert scout.grants.empty()


async def test_a_failure_is_tried_again_five_times_and_then_people_see_it(hive):
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

    told = await hive.events("dead.retried"), await hive.events("dead.dropped")
    assert [[e["data"] for e in rows] for rows in told] == [
        [{"message": sent["id"], "by": "ann"}]
    ] * 2


async def test_all_dead_letters_are_counted_and_reached(hive):
    await hive.registry(agent(A, "scout"))
    scout, sent = await hive.harness(A), []
    for n in range(3):
        sent.append((await hive.ask("send", to="scout", body=f"{n}", by="ann"))["id"])
        for _ in range(5):
            turn = (await scout.granted())["turn"]
            await scout.end(turn, "failed", counted=True, cause="refused")
    found, behind = [], {}
    while behind is not None:
        answer = await hive.ask("dead", limit=1, **behind)
        assert answer["total"] == 3
        found += [letter["id"] for letter in answer["dead"]]
        behind = None if answer["next"] is None else {"after": answer["next"]}
    assert found == sent[::-1]
    assert [letter["id"] for letter in await _dead(hive)] == found
    with pytest.raises(RpcError, match="after"):
        await hive.ask("dead", after="1:2")


async def _dead(hive) -> list:
    return (await hive.ask("dead"))["dead"]


async def test_an_uncounted_failure_waits_and_is_never_counted(hive):
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


async def test_a_lost_connection_costs_nothing(hive):
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


async def test_a_grant_that_was_never_heard_comes_again(hive):
    await hive.registry(agent(A, "scout"))
    scout = await hive.harness(A)
    await hive.ask("send", to="scout", body="x", by="ann")
    turn = (await scout.granted())["turn"]
    welcome = await scout.hello()  # the same boot knows nothing of it
    assert welcome["resume"] is None
    assert (await scout.granted())["turn"] == turn


async def test_a_new_boot_that_knows_nothing_gets_the_next_attempt(hive):
    await hive.registry(agent(A, "scout"))
    scout = await hive.harness(A)
    sent = await hive.ask("send", to="scout", body="x", by="ann")
    await scout.granted()
    await scout.hello(boot=str(uuid.uuid4()))
    assert (await scout.granted())["turn"] == f"{sent['id']}.2"
    [ended] = await hive.events("turn.ended")
    assert (ended["data"]["cause"], ended["data"]["counted"]) == ("restarted", False)


async def test_a_new_boot_goes_on_with_what_runs(hive):
    await hive.registry(agent(A, "scout"))
    scout = await hive.harness(A)
    await hive.ask("send", to="scout", body="x", by="ann")
    turn = (await scout.granted())["turn"]
    welcome = await scout.hello(boot=str(uuid.uuid4()), running={"turn": turn})
    assert welcome["resume"]["turn"] == turn
    assert welcome["resume"]["message"]["body"] == "x"
    await scout.end(turn)


async def test_a_turn_that_does_not_stand_is_dropped(hive):
    await hive.registry(agent(A, "scout"))
    scout = await hive.harness(A)
    await hive.ask("send", to="scout", body="x", by="ann")
    turn = (await scout.granted())["turn"]
    await scout.end(turn)
    welcome = await scout.hello(running={"turn": turn})
    assert (welcome["resume"], welcome["drop"]) == (None, True)


async def test_a_second_hello_fences_the_first_connection(hive):
    await hive.registry(agent(A, "scout"))
    old = await hive.harness(A)
    new = await hive.harness(A)
    async with asyncio.timeout(5):
        await old.peer.gone()
    await hive.ask("send", to="scout", body="x", by="ann")
    turn = (await new.granted())["turn"]
    assert old.grants.empty()
    with pytest.raises(PeerGone):
        await old.end(turn)


async def test_nothing_goes_before_hello(hive):
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


async def test_the_broker_dies_and_nothing_is_lost_or_doubled(hive):
    await hive.registry(agent(A, "scout"))
    scout = await hive.harness(A)
    first = await hive.ask("send", to="scout", body="one", by="ann")
    second = await hive.ask("send", to="scout", body="two", by="ann")
    turn = (await scout.granted())["turn"]
    await until(lambda: hive.events("turn.started"), "the lease is written")
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


async def test_a_harness_ends_and_takes_up_no_turn_that_it_was_not_granted(hive):
    """Each end is kept for ever: it must not make as many as it likes."""
    await hive.registry(agent(A, "scout"))
    scout = await hive.harness(A)
    ids = [(await hive.ask("send", to="scout", body=f"n{n}", by="ann"))["id"] for n in range(3)]
    turn = (await scout.granted())["turn"]
    await scout.end(f"{ids[1]}.1", "failed", cause="overloaded", retry_at=0.0)
    await scout.end(f"{ids[1]}.1")
    ended = [{"turn": f"{ids[2]}.1", "outcome": "ok"}]
    welcome = await scout.hello(running={"turn": f"{ids[1]}.1"}, ended=ended)
    assert (welcome["resume"], welcome["drop"]) == (None, True)
    assert (await scout.granted())["turn"] == turn
    await scout.end(turn)
    assert (await scout.granted())["turn"] == f"{ids[1]}.1"
    await scout.end(f"{ids[1]}.1")
    assert (await scout.granted())["turn"] == f"{ids[2]}.1"
    assert [event["turn"] for event in await hive.events("turn.ended")] == [turn, f"{ids[1]}.1"]
