"""What stops delivery: holds that expire, fences that do not, and pauses of people."""

from __future__ import annotations

import time
import uuid

import pytest
from support.broker_rig import agent

from hive_wire.rpc_errors import BUSY, RpcError

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


async def test_hold_stops_delivery_and_tells_what_runs(hive):
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


async def test_a_hold_that_nobody_renews_is_over(hive):
    await hive.registry(agent(A, "scout"))
    scout = await hive.harness(A)
    await hive.ask("hold", uid=A, token="t", ttl=0.4)
    await hive.ask("send", to="scout", body="one", by="ann")
    began = time.monotonic()
    await scout.granted()
    assert time.monotonic() - began > 0.2


async def test_a_fence_outlives_everything_but_a_new_boot(hive):
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


async def test_a_fence_waits_for_a_harness_that_may_still_work(hive):
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


async def test_unfence_delivers_again(hive):
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
async def test_a_pause_is_kept_and_lifted(hive, uid):
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
    kinds = [e["kind"] for e in await hive.events("paused", "unpaused")]
    assert kinds == ["paused", "unpaused"]


async def test_what_stops_turns_stops_what_is_done_between_them(hive):
    await hive.registry(agent(A, "scout", budget={"usd_per_day": 1.0, "turns_per_hour": 100}))
    scout = await hive.harness(A)

    async def may() -> bool:
        return (await scout.ask("upkeep"))["may"]

    assert await may()
    for uid in (A, None):
        await hive.ask("pause", uid=uid, by="ann", reason="")
        assert not await may()
        await hive.ask("unpause", uid=uid, by="ann", reason="")
        assert await may()
    await hive.ask("hold", uid=A, token="t", ttl=30)
    assert not await may()
    await hive.ask("fence", uid=A, token="t")
    await hive.ask("release", uid=A, token="t")
    assert not await may()
    await hive.ask("unfence", uid=A)
    assert await may()
    await hive.ask("send", to="scout", body="x", by="ann")
    await scout.end((await scout.granted())["turn"], cost_usd=1.1)
    assert not await may()
