"""hive down: who asks is who stops the swarm, and what does not stop is in the way of nothing."""

import argparse
import asyncio
import getpass
import signal

import pytest

from hive_reconciler.app import down
from hive_reconciler.app.client import CallFailed
from hive_reconciler.app.lock import Lock
from hive_reconciler.core.shutdown import each
from hive_reconciler.runtime.base import Phase, RuntimeFailure
from hive_wire.jsonrpc import RpcError


class Up:
    """Stands for the process of `hive up`: it has the lock until it is told to end."""

    def __init__(self, swarm, owner_differs=False):
        self.lock = Lock(swarm.layout.lock)
        self.told = []  # (signal, whether containers ran)
        self._swarm = swarm
        self._owner_differs = owner_differs

    def kill(self, _pid, number):
        if self._owner_differs:
            raise PermissionError
        runs = {Phase.RUNNING} & {o.phase for o in self._swarm.runtime.containers.values()}
        self.told.append((number, bool(runs)))
        if number == signal.SIGTERM:
            self.lock.release()


@pytest.fixture
async def running(swarm, monkeypatch):
    async def none_left(_layout):
        return []

    monkeypatch.setattr(down, "stop_containers", none_left)
    await swarm.spawn("scout")
    return swarm


async def stop(swarm):
    return await asyncio.to_thread(down.down, swarm.layout, argparse.Namespace())


async def test_the_swarm_is_stopped_by_who_asks_and_only_then_up_is_ended(running, monkeypatch):
    up = Up(running)
    monkeypatch.setattr(down.os, "kill", up.kill)
    assert await stop(running) == 0
    assert up.told == [(0, True), (signal.SIGTERM, False)]
    assert running.core.picture.suspended == f"{getpass.getuser()} stopped the swarm"


async def test_who_may_not_end_up_stops_nothing(running, monkeypatch):
    up = Up(running, owner_differs=True)
    monkeypatch.setattr(down.os, "kill", up.kill)
    with pytest.raises(CallFailed, match="another user"):
        await stop(running)
    assert running.core.picture.suspended is None
    up.lock.release()


async def test_up_s_own_stop_afterwards_is_still_the_caller_s(running):
    await running.core.shutdown("ann")
    await running.core.shutdown("root")
    assert running.core.picture.suspended == "ann stopped the swarm"


async def test_one_that_does_not_stop_leaves_no_other_one(running, monkeypatch, capsys):
    whole = running.runtime.stop

    async def broken(name, grace):
        if name == "hm1nd":
            raise RuntimeFailure("Failed", "it does not end")
        await whole(name, grace)

    monkeypatch.setattr(running.runtime, "stop", broken)
    with pytest.raises(RpcError, match="not stopped: hm1nd: it does not end") as caught:
        await running.host.request("shutdown", {"by": "me"})
    assert "(stopped: h-scout)" in caught.value.message
    assert running.runtime.containers["h-scout"].phase is Phase.STOPPED
    assert not running.broker.holds

    up = Up(running)
    monkeypatch.setattr(down.os, "kill", up.kill)
    assert await stop(running) == 0
    assert "hm1nd: it does not end" in capsys.readouterr().out
    assert signal.SIGTERM in dict(up.told)


async def test_all_are_stopped_before_it_is_told_that_some_were_not(running):
    live = sorted(running.runtime.containers.values(), key=lambda one: one.name)
    ended = []

    async def end(seen):
        if seen.name == "h-scout":
            raise TimeoutError
        await asyncio.sleep(0)
        ended.append(seen.name)

    with pytest.raises(RuntimeFailure, match="h-scout: it did not end in time"):
        await each(live, end)
    assert ended == ["hm1nd"]
