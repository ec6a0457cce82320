"""Wake-ups and reminders while somebody sets the clock, or nobody listens."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.broker_rig import Harness, agent, until

from hive_broker.core.clock import Clock
from hive_broker.core.reminders import Reminder
from hive_broker.server import serving
from hive_broker.service.alarms import Alarms
from hive_broker.service.app import App
from hive_broker.service.post import Along
from hive_wire.paths import Layout
from hive_wire.rpc_errors import UNAVAILABLE, RpcError
from hive_wire.sockets import connect

A = "aaaaaaaaaaaa"
HOUR = 3600.0


class Wall:
    """A clock on the wall that somebody sets."""

    def __init__(self) -> None:
        self.off = 0.0

    def __call__(self) -> float:
        return time.time() + self.off


@pytest.mark.parametrize("off", [HOUR, 24 * HOUR])
async def test_a_dated_alarm_goes_by_the_wall_and_a_span_does_not(off):
    wall, rang = Wall(), asyncio.Event()
    alarms = Alarms(Clock(wall=wall), look=0.01)
    early = asyncio.Event()
    alarms.set("span", time.monotonic() + HOUR / 2, early.set)
    alarms.set_dated("date", wall() + HOUR / 2, rang.set)
    wall.off = off
    async with asyncio.timeout(10):
        await rang.wait()
    assert not early.is_set()
    alarms.close()


async def test_a_dated_alarm_waits_when_the_wall_goes_back():
    wall, rang = Wall(), asyncio.Event()
    alarms = Alarms(Clock(wall=wall), look=0.01)
    alarms.set_dated("date", wall() + 0.5, rang.set)
    wall.off = -HOUR
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await rang.wait()
    wall.off = 1.0
    async with asyncio.timeout(10):
        await rang.wait()
    alarms.close()


async def repeating(app: App, layout: Layout) -> Reminder:
    """Ten times a second, for the agent `A`."""
    layout.agent_run(A).mkdir(parents=True)
    host = await connect(layout.broker_sock)
    await host.request("registry.set", {"agents": [agent(A, "scout")]})
    host.close()
    reminder = Reminder(1, A, "again", time.time() + 0.1, 0.1, dated=False)
    await app.reminders.add(reminder, Along())
    return reminder


async def times_moved(app: App, first: Reminder, times: int) -> None:
    await until(lambda: app.broker.reminders[1].due > first.due + times * 0.1, "rang on")


async def test_a_repeated_reminder_that_nobody_hears_is_one_message(tmp_path):
    layout = Layout.of(tmp_path)
    async with serving(layout) as app:
        reminder = await repeating(app, layout)
        await times_moved(app, reminder, 5)
        assert app.broker.agent(A).mailbox.size == 1
        scout = Harness(layout.agent_run(A) / "harness.sock")
        await scout.hello()
        await scout.end((await scout.granted())["turn"])
        await scout.end((await scout.granted())["turn"])
        scout.close()


async def test_a_retired_agent_is_reminded_of_nothing_until_it_is_back(tmp_path):
    layout = Layout.of(tmp_path)
    async with serving(layout) as app:
        await repeating(app, layout)
        await until(lambda: app.broker.agent(A).mailbox.size == 1, "rang")
        host = await connect(layout.broker_sock)
        await host.request("registry.set", {"agents": []})
        once = Reminder(2, A, "once", time.time(), None)
        await app.reminders.add(once, Along())
        last = app.broker.writer.last.message
        with pytest.raises(AssertionError):
            await until(lambda: app.broker.writer.last.message > last, "a message", timeout=0.5)
        await host.request("registry.set", {"agents": [agent(A, "scout")]})
        await until(lambda: app.broker.writer.last.message > last, "a message")
        host.close()


@pytest.mark.parametrize("rings_first", [False, True])
async def test_a_reminder_that_rings_while_it_is_cancelled_is_gone(tmp_path, rings_first):
    layout = Layout.of(tmp_path)
    async with serving(layout) as app:
        await repeating(app, layout)
        cancel = app.reminders.cancel(app.broker.agent(A), 1, Along())
        both = cancel, app.reminders._ring(1)  # each on its way to the disk before the other
        await asyncio.gather(*(reversed(both) if rings_first else both))
        assert app.broker.reminders == {}
    async with serving(layout) as app:
        assert app.broker.reminders == {}


async def test_a_reminder_that_could_not_be_cancelled_rings_on(tmp_path, monkeypatch):
    layout = Layout.of(tmp_path)
    async with serving(layout) as app:
        reminder = await repeating(app, layout)
        monkeypatch.setattr(app.broker.writer, "submit", refuse)
        with pytest.raises(RpcError):
            await app.reminders.cancel(app.broker.agent(A), 1, Along())
        monkeypatch.undo()
        await times_moved(app, reminder, 3)


def refuse(*_: object) -> None:
    raise RpcError(UNAVAILABLE, "the disk is full")


async def test_a_span_is_a_span_also_after_a_restart(tmp_path):
    """A clock that is set back must not keep it waiting."""
    layout = Layout.of(tmp_path)
    async with serving(layout) as app:
        await repeating(app, layout)
        for ident, dated in ((2, True), (3, False)):
            once = Reminder(ident, A, "once", time.time() + HOUR, None, dated)
            await app.reminders.add(once, Along())
    async with serving(layout) as app:
        assert [r.dated for r in app.broker.reminders.values()] == [False, True, False]


def test_a_clock_that_is_set_back_keeps_no_repeated_reminder_waiting():
    left = Reminder(1, A, "x", 100_000.0, 600.0).after(100_000.0 - 24 * HOUR)
    assert left is not None
    assert left.due == 100_000.0 - 24 * HOUR + 600.0
