"""Somebody sets the clock, or stops the process for a while: a real broker goes on."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.broker_rig import Rig, agent, rig
from support.preload import build

pytestmark = pytest.mark.slow
A = "aaaaaaaaaaaa"
HOUR, DAY = 3600, 86400


class Wall:
    """The wall clock of one broker."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0)

    def set(self, off: int) -> None:
        self.path.write_text(f"{off}\n".ljust(20))


@pytest.fixture
async def clocked(tmp_path) -> AsyncIterator[tuple[Rig, Wall]]:
    wall = Wall(tmp_path / "clock")
    library = await asyncio.to_thread(build, "fake_clock.c", tmp_path)
    env = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(wall.path)}
    async with rig(tmp_path / "root", env=env) as hive:
        await hive.registry(agent(A, "scout"))
        yield hive, wall


async def sent_at(hive: Rig, ident: int) -> float:
    [found] = (await hive.ask("messages", after=ident - 1, limit=1))["messages"]
    return found["at"]


async def test_messages_and_turns_go_on_whatever_the_clock_says(clocked):
    hive, wall = clocked
    scout = await hive.harness(A)
    ids = []
    for off in (0, HOUR, -HOUR, DAY, -DAY, 0):
        wall.set(off)
        ids.append((await hive.ask("send", to="scout", body=f"{off}", by="ann"))["id"])
        assert abs(await sent_at(hive, ids[-1]) - time.time() - off) < 60
        turn = (await scout.granted())["turn"]
        assert turn == f"{ids[-1]}.1"
        await scout.end(turn)
    assert ids == sorted(ids)
    assert len((await hive.ask("messages", limit=100))["messages"]) == len(ids)
    assert (await hive.ask("status"))["open"] == 0


@pytest.mark.parametrize("off", [HOUR, -HOUR, DAY])
async def test_a_hold_lasts_as_long_as_it_was_asked_for(clocked, off):
    hive, wall = clocked
    scout = await hive.harness(A)
    began = time.monotonic()
    await hive.ask("hold", uid=A, token="t", ttl=0.7)
    await hive.ask("send", to="scout", body="x", by="ann")
    wall.set(off)
    await scout.granted()
    assert 0.7 <= time.monotonic() - began < 15


@pytest.mark.parametrize("off", [HOUR, -HOUR, DAY])
async def test_a_failed_turn_comes_again_after_its_seconds(clocked, off):
    hive, wall = clocked
    scout = await hive.harness(A)
    sent = await hive.ask("send", to="scout", body="x", by="ann")
    turn = (await scout.granted())["turn"]
    began = time.monotonic()
    await scout.end(turn, "failed", cause="overloaded")
    wall.set(off)
    assert (await scout.granted())["turn"] == f"{sent['id']}.2"
    assert 1.0 <= time.monotonic() - began < 15


@pytest.mark.parametrize("off", [HOUR, -HOUR, DAY, -DAY])
async def test_a_start_with_another_clock_delivers_what_waited(clocked, off):
    hive, wall = clocked
    scout = await hive.harness(A)
    first = await hive.ask("send", to="scout", body="one", by="ann")
    second = await hive.ask("send", to="scout", body="two", by="ann")
    await scout.end((await scout.granted())["turn"], "failed", cause="overloaded")
    await hive.kill()
    wall.set(off)
    await hive.start()
    await scout.hello()
    assert (await scout.granted())["turn"] == f"{first['id']}.2"
    await scout.end(f"{first['id']}.2")
    assert (await scout.granted())["turn"] == f"{second['id']}.1"


async def test_a_broker_that_stood_still_goes_on_where_it_was(tmp_path):
    """SIGSTOP for longer than a hold lives; the bench stops it for two minutes."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="one", by="ann")
        turn = (await scout.granted())["turn"]
        await hive.ask("hold", uid=A, token="t", ttl=1)
        assert hive.process is not None
        hive.process.send_signal(signal.SIGSTOP)
        ending = asyncio.ensure_future(scout.end(turn))
        sending = asyncio.ensure_future(hive.ask("send", to="scout", body="two", by="ann"))
        await asyncio.sleep(3)  # the time that passes is what is tested
        assert not ending.done()
        hive.process.send_signal(signal.SIGCONT)
        await asyncio.gather(ending, sending)
        assert (await scout.granted())["message"]["body"] == "two"


async def test_turns_under_a_clock_that_went_wrong_use_up_no_budget_until_then(clocked):
    hive, wall = clocked
    budget = {"usd_per_day": 1.0, "turns_per_hour": 100}
    await hive.registry(agent(A, "scout", budget=budget))
    wall.set(300 * DAY)
    scout = await hive.harness(A)
    await hive.ask("send", to="scout", body="x", by="ann")
    await scout.end((await scout.granted())["turn"], cost_usd=2.0)
    assert (await hive.status(A))["state"] == "paused"
    wall.set(0)
    for _ in range(2):  # the second start has events of the right clock before it
        await hive.kill()
        await hive.start()
        await scout.hello()
        status = await hive.status(A)
        assert (status["until"] or 0) < time.time() + DAY + 60
