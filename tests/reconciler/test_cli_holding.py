"""hive suspend, resume, pause, unpause, with a real reconciler over doubles."""

import asyncio
import json

import pytest

from .test_cli import hive

pytestmark = pytest.mark.slow


def desired_state(swarm, name):
    return swarm.core.picture.desired.agents[name].spec.state


@pytest.fixture
async def run(swarm):
    async def call(*args):
        return await asyncio.to_thread(hive, swarm.layout, *args)

    await swarm.until(lambda: swarm.is_ready("hm1nd"))
    return call


async def test_a_suspended_agent_is_left_alone_until_it_is_resumed(swarm, run):
    await swarm.spawn("scout")
    assert (await run("suspend", "scout"))[0] == 64
    status, words, _ = await run("suspend", "scout", "--reason", "looking\x1b[2J at it")
    assert status == 0
    assert "hive resume scout" in words
    assert (await run("stop", "scout"))[0] == 0
    await swarm.until(lambda: swarm.condition("scout", "Reconciling").reason == "Suspended")
    assert desired_state(swarm, "scout") == "stopped"
    assert ("stop", "h-scout") not in swarm.runtime.done
    suspended = swarm.condition("scout", "Suspended")
    assert "looking" in suspended.message
    assert swarm.condition("scout", "Stalled").status == "False"

    status, words, _ = await run("status", "--wait")
    assert status == 1
    assert "Suspended/Suspended" in words
    assert "\x1b" not in words
    _, words, _ = await run("reconcile", "--dry-run")
    assert "Suspended" in words
    assert "without that: stop" in words

    await swarm.close()  # a restart forgets nothing
    await swarm.open()
    await swarm.until(lambda: swarm.condition("scout", "Suspended") is not None)
    assert (await run("resume", "scout"))[0] == 0
    await swarm.until(lambda: ("stop", "h-scout") in swarm.runtime.done)
    assert swarm.condition("scout", "Suspended") is None
    status, _, words = await run("resume", "scout")
    assert status == 1
    assert "not suspended" in words


async def test_the_whole_swarm_is_suspended(swarm, run):
    assert (await run("suspend", "--reason", "moving house"))[0] == 0
    swarm.runtime.crash("hm1nd")
    await swarm.until(lambda: swarm.condition("hm1nd", "Healthy").reason == "CrashLoop")
    assert swarm.runtime.done == [("start", "hm1nd")]
    found = json.loads((await run("status", "--json"))[1])
    assert "moving house" in found["suspended"]
    assert (await run("resume"))[0] == 0
    await swarm.until(lambda: swarm.runtime.done == [("start", "hm1nd")] * 2)


async def test_pauses_are_the_brokers(swarm, run):
    status, words, _ = await run("pause", "hm1nd", "--reason", "too loud")
    assert status == 0
    assert "hive unpause hm1nd" in words
    assert swarm.broker.paused[swarm.uid("hm1nd")][1] == "too loud"
    assert (await run("pause", "--reason", "all of you"))[0] == 0
    assert None in swarm.broker.paused
    assert (await run("unpause"))[0] == 0
    assert (await run("unpause", "hm1nd"))[0] == 0
    assert swarm.broker.paused == {}


@pytest.mark.parametrize("command", ["suspend", "resume", "pause"])
async def test_an_unknown_name_is_said(run, command):
    status, _, words = await run(command, "nobody", "--reason", "x")
    assert status == 1
    assert "'nobody'" in words
    assert "hive status" in words
