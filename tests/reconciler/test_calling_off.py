"""A newer revision calls off what only waits, a build too, and never a stop, start or switch."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import replace

import pytest
from support.fake_runtime import FakeRuntime
from support.pushing import pushed

from hive_reconciler.core.keeping import MEMORY
from hive_reconciler.core.memory_files import MemoryFiles
from hive_reconciler.model.plan import Action, Kind
from hive_reconciler.runtime.base import Phase

SCOUT = "h-scout"


class Held(FakeRuntime):
    """Builds first, as on NixOS. `hold` is the step of the scout's container that waits for `go`."""

    name = "nixos"

    def __init__(self):
        super().__init__()
        self.hold = ""
        self.go = asyncio.Event()
        self.began = []  # (step, revision)
        self.cancelled = Counter()  # by step

    async def _step(self, step, name, revision=None):
        if name != SCOUT or self.hold != step:
            return
        self.began.append((step, revision))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled[step] += 1
            raise

    async def observe(self):  # of the loop's own looks none is held
        await self._step("observe", asyncio.current_task().get_name())
        return await super().observe()

    async def prepare(self, container):
        await self._step("build", container.name, container.revision)

    async def start(self, container):
        await self._step("start", container.name, container.revision)
        await super().start(container)

    async def update(self, container):
        await self._step("switch", container.name, container.revision)
        await super().update(container)

    async def stop(self, name, grace):
        await self._step("stop", name)
        await super().stop(name, grace)


@pytest.fixture
async def held(swarm):
    await swarm.close()
    swarm.runtime = Held()
    await swarm.open()
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    await swarm.spawn("scout")
    return swarm


def revision(swarm):
    return swarm.core.picture.desired.agents["scout"].revision


def runs_the_newest(swarm):
    return swarm.is_ready("scout") and swarm.runtime.containers[SCOUT].revision == revision(swarm)


def renaming(swarm, tmp_path, old, new):
    """A proposal, pushed by a person."""

    def rename(clone):
        (clone.path / f"agents/{old}").rename(clone.path / f"agents/{new}")

    return pushed(swarm.layout, swarm.host, tmp_path, new, rename)


async def restart(swarm):
    """A merge that changes the scout's revision."""
    await swarm.host.request("power", {"agent": "scout", "action": "restart"})
    await swarm.host.request("reconcile", {"wait": True})


async def test_a_newer_revision_calls_off_a_build(held):
    swarm, runtime = held, held.runtime
    runtime.hold = "build"
    await restart(swarm)
    await swarm.until(lambda: len(runtime.began) == 1)
    first = revision(swarm)
    await restart(swarm)
    await swarm.until(lambda: len(runtime.began) == 2)
    assert runtime.cancelled == {"build": 1}
    assert runtime.began == [("build", first), ("build", revision(swarm))]
    stops = runtime.done.count(("stop", SCOUT))
    runtime.go.set()
    await swarm.until(lambda: runs_the_newest(swarm))
    assert runtime.done.count(("stop", SCOUT)) == stops + 1, "what was called off stopped nothing"


async def test_a_rename_calls_off_what_waits_under_the_old_name(held, tmp_path):
    swarm, runtime = held, held.runtime
    runtime.hold = "build"
    await restart(swarm)
    await swarm.until(lambda: len(runtime.began) == 1)
    await swarm.approve(await renaming(swarm, tmp_path, "scout", "guide"))
    await swarm.host.request("reconcile", {"wait": True})
    await swarm.until(lambda: runtime.cancelled == {"build": 1})
    await swarm.until(lambda: swarm.is_ready("guide"))
    assert set(runtime.containers) == {"hm1nd", "h-guide"}


@pytest.mark.parametrize("step", ["stop", "start"])
async def test_a_newer_revision_waits_for_a_stop_and_a_start(held, step):
    swarm, runtime = held, held.runtime
    runtime.hold = step
    await restart(swarm)
    await swarm.until(lambda: len(runtime.began) == 1)
    for _ in range(3):
        await restart(swarm)
    assert len(runtime.began) == 1
    runtime.go.set()
    await swarm.until(lambda: runs_the_newest(swarm))
    assert not runtime.cancelled


@pytest.mark.parametrize("by", ["its end", "hive down"])
async def test_what_is_cut_short_is_not_told_as_done(held, by):
    swarm, runtime = held, held.runtime
    runtime.hold = "start"
    await restart(swarm)
    await swarm.until(lambda: len(runtime.began) == 1)
    if by == "hive down":
        await swarm.host.request("shutdown", {"by": "ann"})
    await swarm.close()
    runtime.hold = ""
    await swarm.open()
    await swarm.until(lambda: runs_the_newest(swarm))
    past = [(o.kind, o.result) for o in swarm.core.picture.memory[swarm.uid("scout")].past]
    assert ("restart", "Interrupted") in past
    assert ("restart", "Done") not in past


def describing(swarm, tmp_path, words):
    """A proposal that a running container takes over in place, pushed by a person."""

    def describe(clone):
        path = "agents/scout/agent.toml"
        old, new = clone.read(path), f'description = "{words}"'
        clone.write(path, re.sub('description = ".*"', new, old))
        assert clone.read(path) != old

    return pushed(swarm.layout, swarm.host, tmp_path, words, describe)


async def test_a_newer_revision_waits_for_a_switch(held, tmp_path):
    swarm, runtime = held, held.runtime
    runtime.hold = "switch"
    await swarm.approve(await describing(swarm, tmp_path, "y"))
    await swarm.until(lambda: len(runtime.began) == 1)
    for _ in range(3):
        await restart(swarm)
    assert len(runtime.began) == 1
    runtime.go.set()
    await swarm.until(lambda: runs_the_newest(swarm))
    assert not runtime.cancelled


async def test_what_is_switched_to_is_built_before(held, tmp_path):
    """A build takes longer than a switch may, and a newer revision calls it off."""
    swarm, runtime = held, held.runtime
    runtime.hold = "build"
    await swarm.approve(await describing(swarm, tmp_path, "y"))
    await swarm.until(lambda: len(runtime.began) == 1)
    await swarm.approve(await describing(swarm, tmp_path, "z"))
    await swarm.until(lambda: len(runtime.began) == 2)
    assert runtime.cancelled == {"build": 1}
    runtime.go.set()
    await swarm.until(lambda: runs_the_newest(swarm))
    assert ("stop", SCOUT) not in runtime.done


async def test_a_name_is_not_given_away_while_its_container_stops(held, tmp_path):
    """A rename frees the name: whoever has it next must not start into the stop of the former."""
    swarm, runtime = held, held.runtime
    runtime.hold = "stop"
    await swarm.approve(await renaming(swarm, tmp_path, "scout", "guide"))
    await swarm.until(lambda: len(runtime.began) == 1)
    answer = await swarm.host.request("spawn", {"name": "scout", "description": "x"})
    await swarm.approve(answer["proposal"])
    seen = runtime.containers[SCOUT]  # it has ended; the stop cleans up after it
    runtime.containers[SCOUT] = replace(seen, phase=Phase.STOPPED, tasks=0)
    for _ in range(3):
        await swarm.host.request("reconcile", {"wait": True})
    assert runtime.containers[SCOUT].uid == seen.uid, "the next one waits"
    runtime.go.set()
    await swarm.until(lambda: swarm.is_ready("guide") and swarm.is_ready("scout"))


@pytest.mark.parametrize("state", ["running", "stopped"])
async def test_who_comes_back_while_it_is_stopped_keeps_its_container(held, state):
    swarm, runtime = held, held.runtime
    uid = swarm.uid("scout")
    runtime.hold = "stop"
    retired = await swarm.host.request("retire", {"agent": "scout"})
    await swarm.approve(retired["proposal"], allow_prune=1)
    await swarm.until(lambda: len(runtime.began) == 1)
    revived = await swarm.host.request("revive", {"agent": "scout"})
    await swarm.approve(revived["proposal"])
    if state == "stopped":
        await swarm.host.request("power", {"agent": "scout", "action": "stop"})
    await swarm.host.request("reconcile", {"wait": True})
    runtime.go.set()
    await swarm.until(lambda: runtime.containers[SCOUT].phase.value == state)
    await swarm.until(lambda: not swarm.core._operations.under_way)
    assert runtime.containers[SCOUT].uid == uid
    assert ("destroy", SCOUT) not in runtime.done


async def test_what_is_acted_on_is_remembered_before(held, monkeypatch):
    """Else who is killed meanwhile and finds bad files then would go back to an older spec."""
    swarm, steer, kept = held, held.core._steer, {}
    files = MemoryFiles(swarm.layout.reconciler / MEMORY)

    async def looked(*planned):
        memory = (await asyncio.to_thread(files.load)).agents[swarm.uid("scout")]
        kept.setdefault(revision(swarm), memory.good.revision)
        await steer(*planned)

    monkeypatch.setattr(swarm.core, "_steer", looked)
    await restart(swarm)
    assert kept[revision(swarm)] == revision(swarm)


async def test_what_was_wanted_again_a_moment_ago_is_not_stopped(held, monkeypatch):
    """The commit is read, and the round has not yet come to calling off."""
    swarm, runtime, steer = held, held.runtime, held.core._steer
    runtime.hold = "observe"
    await swarm.host.request("power", {"agent": "scout", "action": "stop"})
    await swarm.until(lambda: len(runtime.began) == 1)

    async def later(*planned):
        if runtime.go.is_set():
            await steer(*planned)

    monkeypatch.setattr(swarm.core, "_steer", later)
    await swarm.host.request("power", {"agent": "scout", "action": "start"})
    await swarm.host.request("reconcile", {"wait": True})
    runtime.go.set()
    await swarm.until(lambda: not swarm.core._operations.under_way)
    assert ("stop", SCOUT) not in runtime.done


async def test_of_which_nothing_tells_what_it_runs_is_not_stopped_for_that(held):
    """Since it was planned it may have been wanted again as it runs."""
    swarm, runtime = held, held.runtime
    stops = runtime.done.count(("stop", SCOUT))
    runtime.hold = "observe"
    await restart(swarm)
    await swarm.until(lambda: len(runtime.began) == 1)
    seen = runtime.containers[SCOUT]
    runtime.containers[SCOUT] = replace(seen, revision=None, restart_key=None, age=None)
    runtime.go.set()
    await swarm.until(lambda: not swarm.core._operations.under_way)
    assert runtime.done.count(("stop", SCOUT)) == stops
    assert swarm.core.picture.memory[swarm.uid("scout")].failure.reason == "RecordLost"
    runtime.containers[SCOUT] = seen
    await swarm.until(lambda: runs_the_newest(swarm))


async def test_who_came_back_before_the_stop_had_its_turn_is_drained_anew(held):
    """Nobody ran the turn that it had, so there is no fence; and a hold does not last."""
    swarm, runtime, broker, uid = held, held.runtime, held.broker, held.uid("scout")
    stops = runtime.done.count(("stop", SCOUT))
    swarm.hello_at_start = False
    broker.offline(uid)
    broker.unknown.add(uid)
    broker.running[uid] = "1.1"
    seen = runtime.containers[SCOUT]
    runtime.containers[SCOUT] = replace(seen, tasks=0)
    runtime.hold = "observe"
    await restart(swarm)
    await swarm.until(lambda: runtime.began)
    broker.hello(uid)
    runtime.containers[SCOUT] = seen
    runtime.go.set()
    await swarm.until(
        lambda: any(o.reason == "Draining" for o in swarm.core._operations.under_way.values())
    )
    assert runtime.done.count(("stop", SCOUT)) == stops
    swarm.hello_at_start = True
    broker.end(uid)
    await swarm.until(lambda: runs_the_newest(swarm))


async def test_who_is_renamed_back_while_it_is_stopped_keeps_its_container(held, tmp_path):
    swarm, runtime = held, held.runtime
    uid = swarm.uid("scout")
    runtime.hold = "stop"
    await swarm.approve(await renaming(swarm, tmp_path, "scout", "guide"))
    await swarm.until(lambda: len(runtime.began) == 1)
    await swarm.approve(await renaming(swarm, tmp_path, "guide", "scout"))
    await swarm.host.request("reconcile", {"wait": True})
    runtime.go.set()
    await swarm.until(lambda: swarm.is_ready("scout"))
    assert runtime.containers[SCOUT].uid == uid
    assert ("destroy", SCOUT) not in runtime.done


async def test_a_late_look_removes_nobody_who_has_that_name_now(held):
    """Planned from what was seen before the next bearer of the name was started."""
    swarm, runtime = held, held.runtime
    gone = Action(Kind.DESTROY, "scout", "z" * 12, SCOUT, "it was seen stopped", drift=False)
    operations = swarm.core._operations
    assert operations.start(gone)
    await swarm.until(lambda: gone.uid not in operations.under_way)
    assert runtime.containers[SCOUT].uid == swarm.uid("scout")
    assert ("destroy", SCOUT) not in runtime.done
