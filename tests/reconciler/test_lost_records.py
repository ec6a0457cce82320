"""A container whose record is lost is whose it was; a name alone tells nothing."""

from dataclasses import replace

from support.plans import TOOLS, desired, recalled, running, uid, valid
from support.pushing import pushed

from hive_reconciler.core import recall
from hive_reconciler.core.memory_files import Kept, MemoryFiles
from hive_reconciler.core.picture import Picture
from hive_reconciler.model.memory import AgentMemory
from hive_reconciler.model.plan import Kind
from hive_reconciler.runtime.base import Phase

from .test_loop import verbs

OLD, NEW = valid("old"), valid("new")


def lost(seen):
    return replace(seen, uid="", revision=None, restart_key=None, age=None)


def met_again(memory):
    """By the next process: a rename and the former name's next bearer are applied by now, and
    the container of the renamed one runs under its former name yet."""
    now = desired({"guide": OLD, "scout": NEW})
    picture = Picture(toolchain=TOOLS, desired=now, memory=memory)
    picture.see((lost(running("scout", OLD)),))
    return picture


def test_a_name_does_not_tell_whose_a_live_container_is():
    picture = met_again(recalled({"guide": OLD}).agents)
    assert picture.seen(uid("new")) is None
    assert picture.seen(uid("old")) is None
    found = picture.dry_run()
    assert found.actions == ()
    assert {b.reason for b in found.blocked} == {"RecordLost", "NameTaken"}


def test_a_former_process_knew_where_it_runs(tmp_path):
    known = recalled({"guide": OLD}, container="h-scout").agents
    MemoryFiles(tmp_path / "memory").save(Kept(known))
    picture = met_again(MemoryFiles(tmp_path / "memory").load().agents)
    assert picture.seen(uid("old")).name == "h-scout"
    assert picture.seen(uid("new")) is None
    assert Kind.CREATE not in {a.kind for a in picture.dry_run().actions}


def test_what_a_rename_left_behind_hides_no_live_container():
    left = running("scout", OLD, phase=Phase.STOPPED)
    picture = Picture(toolchain=TOOLS, desired=desired({"guide": OLD}))
    picture.see((left, running("guide", OLD)))
    picture.see((left, lost(running("guide", OLD))))
    assert picture.seen(uid("old")).name == "h-guide"


def test_two_looks_far_apart_tell_nothing_of_what_lies_between():
    """Nobody could look for minutes: its record may have been there all the time."""
    unread, memory = lost(running("scout", OLD)), AgentMemory(good=OLD)
    for clock in (0.0, 10.0, 210.0, 260.0):
        memory = recall.seen(memory, unread, clock, clock)
        assert not memory.is_lost
    assert recall.seen(memory, unread, 270.0, 270.0).is_lost


async def two(swarm):
    await swarm.spawn("scout")
    await swarm.spawn("guide")
    return swarm.uid("scout"), swarm.uid("guide")


async def test_where_an_agent_runs_is_remembered(swarm):
    await swarm.spawn("scout")
    await swarm.until(lambda: swarm.core.picture.memory[swarm.uid("scout")].container == "h-scout")
    await swarm.host.request("power", {"agent": "scout", "action": "stop"})
    await swarm.until(lambda: swarm.core.picture.memory[swarm.uid("scout")].container == "")


async def test_a_stop_does_not_meet_who_has_that_name_yet(swarm, tmp_path):
    scout, _ = await two(swarm)
    runtime = swarm.runtime
    swarm.broker.begin(scout, "7.1")
    runtime.containers["h-scout"] = lost(runtime.containers["h-scout"])
    for before, after in (("scout", "owl"), ("guide", "scout")):

        def rename(clone, before=before, after=after):
            (clone.path / "agents" / before).rename(clone.path / "agents" / after)

        await swarm.approve(await pushed(swarm.layout, swarm.host, tmp_path, after, rename))
    await swarm.until(lambda: "stop" in verbs(swarm, "h-guide"))
    for _ in range(3):
        await swarm.host.request("reconcile", {"wait": True})
    assert "stop" not in verbs(swarm, "h-scout"), "its turn runs"
    assert runtime.containers["h-scout"].phase is Phase.RUNNING


async def test_what_nobody_left_is_removed_alone(swarm):
    """No record, nothing alive, no agent of that name: that says nothing of other lost records."""
    scout, _ = await two(swarm)
    runtime = swarm.runtime
    swarm.broker.begin(scout, "7.1")
    busy = lost(runtime.containers["h-scout"])
    runtime.containers["h-scout"] = busy
    left = replace(busy, name="h-left", phase=Phase.STOPPED, tasks=0)
    runtime.containers["h-left"] = left
    await swarm.host.request("reconcile", {"wait": True})
    await swarm.until(lambda: "destroy" in verbs(swarm, "h-left"))
    assert "stop" not in verbs(swarm, "h-scout"), "its turn runs"
