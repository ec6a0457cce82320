"""Long work leaves the event loop to others, and nobody acts on what is another since."""

from __future__ import annotations

import asyncio

import pytest
from support.plans import TOOLS, desired, running, uid, valid

from hive_reconciler.core import slices
from hive_reconciler.core.picture import Picture
from hive_reconciler.core.slices import in_slices
from hive_reconciler.model.memory import AgentMemory

NAMES = [f"a{n}" for n in range(300)]


@pytest.fixture
def tiny(monkeypatch):
    """Every step is a slice."""
    monkeypatch.setattr(slices, "SLICE", 0.0)


async def test_between_two_slices_others_have_their_turn(tiny):
    turns = []

    def work():
        for _ in range(5):
            turns.append("work")
            yield
        return "made"

    async def other():
        for _ in range(5):
            turns.append("other")
            await asyncio.sleep(0)

    going = asyncio.create_task(other())
    assert await in_slices(work()) == "made"
    await going
    assert turns == ["work", "other"] * 5


async def test_what_is_taken_over_is_there_whole_or_not_at_all(tiny):
    picture = Picture(toolchain=TOOLS)
    await picture.want(desired({name: valid(name) for name in NAMES}))
    before = {name: running(name, valid(name)) for name in NAMES}
    await picture.look(tuple(before.values()))
    after = {name: running(name, valid(name, revision="r2")) for name in NAMES}
    looking = asyncio.create_task(picture.look(tuple(after.values())))
    revisions, steps = set(), 0
    while not looking.done():
        seen = {agent.seen.revision for agent in picture.agents.by_name.values()}
        assert len(seen) == 1
        revisions |= seen
        steps += 1
        if steps == 20:  # an operation ends meanwhile
            picture.remember({uid("a7"): AgentMemory(name="a7", failures=3)})
        await asyncio.sleep(0)
    assert steps > len(NAMES)
    assert {a.seen.revision for a in picture.agents.by_name.values()} == {"r2"}
    assert revisions <= {"r1", "r2"}
    assert picture.agents.by_name["a7"].memory.failures == 3


async def test_who_is_suspended_while_a_round_plans_is_left_alone(swarm, monkeypatch):
    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    await swarm.spawn("scout")
    picture, planning = swarm.core.picture, swarm.core.picture.planning

    def suspended(given):
        plan = yield from planning(given)
        if any(action.agent == "scout" for action in plan.actions):
            picture.suspensions = {swarm.uid("scout"): "by ann"}
        return plan

    monkeypatch.setattr(picture, "planning", suspended)
    done = list(swarm.runtime.done)
    await swarm.host.request("power", {"agent": "scout", "action": "restart"})
    await swarm.until(lambda: swarm.condition("scout", "Reconciling").reason == "Suspended")
    assert swarm.runtime.done == done
    picture.suspensions = {}
    monkeypatch.undo()
    swarm.core.wake()
    await swarm.until(lambda: ("stop", "h-scout") in swarm.runtime.done)
