"""kill -9 in mid-turn: the story still ends right, each message settled once."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
from support.proc import processes
from support.swarm import Swarm, swarm

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(240)]

# A turn that does something, waits for the test, and does something more.
SLOW_TURN = """
[[rule]]
kind = "text"
from = "operator"

  [[rule.step]]
  tool = "send"
  args = { to = "operator", body = "before" }

  [[rule.step]]
  run = "while ! [ -e /state/go ]; do sleep 0.05; done"

  [[rule.step]]
  tool = "send"
  args = { to = "operator", body = "after" }
"""


async def start_a_slow_turn(hive: Swarm) -> str:
    manager = await hive.ready("hm1nd")
    (hive.layout.rehearsal / "hm1nd.toml").write_text(SLOW_TURN)
    await hive.cli("send", "hm1nd", "go")
    await hive.message("hm1nd", "operator", "before")
    return manager["uid"]


def let_it_go_on(hive: Swarm, uid: str) -> None:
    (hive.layout.agent(uid) / "state" / "go").touch()


async def once_each(hive: Swarm) -> None:
    """Each reply once, one ended turn, nothing queued."""
    await hive.message("hm1nd", "operator", "after", timeout=60)

    async def settled():
        (agent,) = (await hive.broker("agents"))["agents"]
        return agent["queued"] == 0 and agent["turn"] is None

    await hive.until("all is settled", settled)
    messages = (await hive.broker("messages", limit=500))["messages"]
    said = Counter(m["body"] for m in messages if m["sender"] == "hm1nd")
    assert said == {"before": 1, "after": 1}
    ended = (await hive.broker("events", kinds=["turn.ended"], limit=50))["events"]
    assert [e["data"]["outcome"] for e in ended].count("ok") == 1


@pytest.mark.parametrize("process", ["hive_broker", "hive_reconciler.app.daemon", "hive_gateway"])
async def test_a_host_process_is_killed(tmp_path, process):
    async with swarm(tmp_path / "root", "--rehearse") as hive:
        uid = await start_a_slow_turn(hive)
        boot = (await hive.broker("agents"))["agents"][0]["boot"]
        os.kill(hive.pid(process), signal.SIGKILL)
        let_it_go_on(hive, uid)
        await once_each(hive)
        assert (await hive.broker("agents"))["agents"][0]["boot"] == boot, "the container went on"


async def test_the_harness_is_killed(tmp_path):
    async with swarm(tmp_path / "root", "--rehearse") as hive:
        uid = await start_a_slow_turn(hive)
        os.kill(harness_pid(hive), signal.SIGKILL)
        let_it_go_on(hive, uid)
        await hive.ready("hm1nd")
        await once_each(hive)


def harness_pid(hive: Swarm) -> int:
    """PID 1 of the manager's container, as the host numbers it."""
    group = f"hive{hive.layout.tag}/hm1nd"
    (pid,) = (
        p.pid
        for p in processes()
        if p.inner_pid == 1 and p.names("hive_harness") and group in p.groups
    )
    return pid
