"""hive down: who asks is who stops the swarm, and what does not stop is in the way of nothing."""

import argparse
import asyncio
import getpass
import os
import select
import signal
import sys

import pytest

from hive_reconciler.app import down
from hive_reconciler.app.client import CallFailed
from hive_reconciler.core.shutdown import each
from hive_reconciler.runtime.base import Phase, RuntimeFailure
from hive_wire.rpc_errors import RpcError

HOLDS = """
import signal, sys, time
from pathlib import Path
from hive_wire.lock import Lock
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
signal.sigwait({signal.SIGTERM})
lock.release()
time.sleep(0.3)  # an interpreter takes its time to end
"""


class Up:
    """Stands for `hive up`: a process that has the lock until it is told to end."""

    def __init__(self, swarm, process):
        self.process = process
        self.told = []  # (signal, whether containers ran)
        self.owner_differs = False
        self._swarm = swarm
        self._kill = os.kill

    def kill(self, pid, number):
        assert pid == self.process.pid
        if self.owner_differs:
            raise PermissionError
        runs = {Phase.RUNNING} & {o.phase for o in self._swarm.runtime.containers.values()}
        self.told.append((number, bool(runs)))
        self._kill(pid, number)


@pytest.fixture
async def up(running, monkeypatch):
    argv = (sys.executable, "-c", HOLDS, str(running.layout.lock))
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert await process.stdout.readline() == b"held\n"
    stands = Up(running, process)
    monkeypatch.setattr(down.os, "kill", stands.kill)
    yield stands
    monkeypatch.undo()
    if process.returncode is None:
        process.kill()
    await process.wait()


@pytest.fixture
async def running(swarm, monkeypatch):
    async def none_left(_layout):
        return []

    monkeypatch.setattr(down, "stop_containers", none_left)
    await swarm.spawn("scout")
    return swarm


async def stop(swarm):
    return await asyncio.to_thread(down.down, swarm.layout, argparse.Namespace())


async def test_the_swarm_is_stopped_by_who_asks_and_only_then_up_is_ended(running, up):
    assert await stop(running) == 0
    assert up.told == [(0, True), (signal.SIGTERM, False)]
    assert running.core.picture.suspended == f"{getpass.getuser()} stopped the swarm"


async def test_up_is_gone_when_down_says_so(running, up):
    process = os.pidfd_open(up.process.pid)
    assert await stop(running) == 0
    assert select.select([process], [], [], 0)[0] == [process]
    os.close(process)


async def test_who_may_not_end_up_stops_nothing(running, up):
    up.owner_differs = True
    with pytest.raises(CallFailed, match="another user"):
        await stop(running)
    assert running.core.picture.suspended is None


async def test_up_s_own_stop_afterwards_is_still_the_caller_s(running):
    await running.core.shutdown("ann")
    await running.core.shutdown("root")
    assert running.core.picture.suspended == "ann stopped the swarm"


async def test_one_that_does_not_stop_leaves_no_other_one(running, up, monkeypatch, capsys):
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
