"""Budgets, and limits of the model: who waits until when, and what people see of it."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.broker_rig import agent

pytestmark = pytest.mark.slow
A = "aaaaaaaaaaaa"


async def test_a_budget_stops_turns_and_shows_it(hive):
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
async def test_the_operator_lifts_a_budget_that_is_used_up(hive, restart):
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


async def test_a_retry_that_waits_says_until_when(hive):
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


async def test_a_limit_that_only_the_gateway_saw_is_waited_for(hive):
    await hive.registry(agent(A, "scout"))
    scout = await hive.harness(A)
    await hive.ask("send", to="scout", body="x", by="ann")
    turn, until_then = (await scout.granted())["turn"], time.time() + 5000
    await hive.ask("limited", uid=A, until=until_then)
    await scout.ask("state", state="rate-limited")
    await scout.end(turn, "failed", cause="rate_limit")
    assert abs((await hive.status(A))["until"] - until_then) < 2
    assert scout.grants.empty()


async def test_a_report_of_use_counts_once_however_often_it_comes(hive):
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


async def test_a_report_that_comes_again_before_it_is_stored_counts_once(hive):
    """The gateway's connection broke, and the new one is quicker than the disk."""
    await hive.registry(agent(A, "scout", budget={"usd_per_day": 2.0, "turns_per_hour": 100}))
    scout = await hive.harness(A)
    report = {"uid": A, "usage": {"output_tokens": 1}, "usd": 1.5, "at": time.time()}
    again = await hive.client()
    await asyncio.gather(*(peer.request("usage", report) for peer in (hive.host, again) * 3))
    await hive.ask("send", to="scout", body="x", by="ann")
    await scout.granted()
