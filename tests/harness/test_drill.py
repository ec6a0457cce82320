"""Harness and real broker, either killed with -9 at random moments: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest
from support.broker_rig import Rig, agent, until
from support.harness_process import HarnessProcess

UID = "aaaaaaaaaaaa"
MESSAGES = 25

SCRIPT = """
[[rule]]
kind = "text"
[[rule.step]]
tool = "send"
args = { to = "operator", body = "a {body}" }
[[rule.step]]
run = "sleep 0.05"
[[rule.step]]
tool = "send"
args = { to = "operator", body = "b {body}" }
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_message_is_one_turn_and_every_call_takes_effect_once(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    rig = Rig(tmp_path / "root")
    harness = HarnessProcess(tmp_path / "agent")
    harness.run = rig.layout.agent_run(UID)
    harness.run.mkdir(parents=True)
    harness.agent()
    harness.script(SCRIPT)
    await rig.start()
    registry = {"agents": [agent(UID, "tester")]}
    await rig.host.request("registry.set", registry)
    await harness.start()
    try:
        for number in range(MESSAGES):
            sent = {"to": "tester", "body": f"m{number}", "by": "t", "key": f"k{number}"}
            await rig.host.request("send", sent)
        kills = 0
        while len(await _ended(rig)) < MESSAGES and kills < 12:
            await asyncio.sleep(chance.uniform(0.05, 0.6))  # the drill's random moment
            kills += 1
            if chance.random() < 0.5:
                await harness.kill()
                await harness.start()
            else:
                assert rig.process is not None
                rig.process.kill()
                await rig.process.wait()
                await rig.start()
        await until(lambda: _all_ended(rig), "all turns end", timeout=90)
        flow = await rig.host.request("messages", {"peer": "tester", "limit": 500})
        answers = [m["body"] for m in flow["messages"] if m["sender"] == "tester"]
        wanted = [f"{letter} m{number}" for number in range(MESSAGES) for letter in "ab"]
        assert Counter(answers) == Counter(wanted)
        assert answers == wanted
        status = await rig.host.request("status")
        assert status["open"] == 0
    finally:
        await harness.kill()
        assert rig.process is not None
        rig.process.kill()
        await rig.process.wait()


async def _ended(rig: Rig) -> list[str]:
    found = await rig.host.request("events", {"uid": UID, "limit": 1000, "kinds": ["turn.ended"]})
    return [event["data"]["turn"] for event in found["events"] if event["data"]["outcome"] == "ok"]


async def _all_ended(rig: Rig) -> bool:
    ended = await _ended(rig)
    assert len(ended) == len({turn.partition(".")[0] for turn in ended})
    return len(ended) == MESSAGES
