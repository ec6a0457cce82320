"""What stops delivery: holds that expire, fences that do not, and pauses of people."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.broker_rig import Harness, agent, until

from hive_broker.core.clock import Clock
from hive_broker.server import serving
from hive_broker.service.app import App
from hive_wire.jsonrpc import Peer
from hive_wire.paths import Layout
from hive_wire.rpc_errors import BUSY, UNAVAILABLE, RpcError
from hive_wire.sockets import connect

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


class Away:
    """A broker whose clock the test puts forward, and a harness of A in the midst of a turn."""

    app: App
    host: Peer
    turn: str

    def __init__(self, scout: Harness) -> None:
        self.scout = scout
        self.later = 0.0

    async def ask(self, method: str, **params: object) -> Any:
        return await self.host.request(method, params, timeout=20)


@asynccontextmanager
async def away(root: Path) -> AsyncIterator[Away]:
    layout = Layout.of(root)
    layout.agent_run(A).mkdir(parents=True)

    def clock(real: Callable[[], float]) -> Callable[[], float]:
        return lambda: real() + found.later

    found = Away(Harness(layout.agent_run(A) / "harness.sock"))
    async with serving(layout, Clock(clock(time.time), clock(time.monotonic))) as found.app:
        found.host = await connect(layout.broker_sock)
        scout = found.scout
        try:
            await found.ask("registry.set", agents=[agent(A, "scout")])
            await scout.hello()
            await found.ask("send", to="scout", body="x", by="ann")
            found.turn = (await scout.granted())["turn"]
            yield found
        finally:
            scout.close()
            found.host.close()


@pytest.mark.parametrize("claims", [True, False])
async def test_a_turn_that_a_fence_let_run_comes_again_when_that_is_lifted(tmp_path, claims):
    """Its harness was away for a minute, comes back behind the fence, and is not restarted."""
    async with away(tmp_path) as hive:
        hive.scout.close()
        await until(lambda: hive.app.broker.agent(A).peer is None, "away")
        hive.later = 61.0
        await hive.ask("hold", uid=A, token="t", ttl=30)
        await hive.ask("fence", uid=A, token="t")
        running = {"running": {"turn": hive.turn}} if claims else {}
        welcome = await hive.scout.hello(**running)
        assert (welcome["resume"], welcome["drop"]) == (None, claims)
        await hive.ask("release", uid=A, token="t")
        hive.later = 70.0
        await hive.ask("unfence", uid=A)
        assert (await hive.scout.granted(5.0))["turn"] == hive.turn.replace(".1", ".2")


async def test_a_hello_that_failed_leaves_its_turn_running(tmp_path, monkeypatch):
    """The connection before it ended just now: no minute has passed since."""
    async with away(tmp_path) as hive:
        hive.later = 3600.0

        async def refuse(*_: object, **__: object) -> None:
            raise RpcError(UNAVAILABLE, "the disk refuses")

        monkeypatch.setattr(hive.app.turns, "_welcome", refuse)
        with pytest.raises(RpcError, match="refuses"):
            await hive.scout.hello(running={"turn": hive.turn})
        await hive.ask("hold", uid=A, token="t", ttl=30)
        with pytest.raises(RpcError, match="a turn runs"):
            await hive.ask("fence", uid=A, token="t")


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
