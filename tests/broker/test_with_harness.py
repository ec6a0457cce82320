"""The real harness with its rehearsing engine on the real broker."""

from __future__ import annotations

import pytest
from support.broker_rig import agent, rig, until
from support.harness_process import HarnessProcess

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def harness(hive, root, uid: str, name: str) -> HarnessProcess:
    found = HarnessProcess(root / name)
    found.run = hive.layout.agent_run(uid)
    found.agent(uid=uid, name=name)
    return found


async def answered(hive, count: int) -> list[dict]:
    found = (await hive.ask("inbox", limit=50))["messages"]
    return found if len(found) >= count else []


@pytest.mark.parametrize("dies", ["nobody", "broker", "harness"])
async def test_a_rehearsed_turn(tmp_path, dies):
    async with rig(tmp_path / "root") as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout = harness(hive, tmp_path, A, "scout")
        await scout.start()
        try:
            sent = [await hive.ask("send", to="scout", body=f"n{n}", by="ann") for n in range(3)]
            if dies == "broker":
                await until(lambda: answered(hive, 1), "the first answer")
                await hive.kill()
                await hive.start()
            elif dies == "harness":
                await until(lambda: answered(hive, 1), "the first answer")
                await scout.kill()
                await scout.start()
            answers = await until(lambda: answered(hive, 3), "three answers")
            assert [a["in_reply_to"] for a in answers] == [s["id"] for s in sent]
            await until(lambda: _settled(hive), "all is settled")
            ended = (await hive.ask("events", kinds=["turn.ended"], after=0))["events"]
            done = [e["turn"].partition(".")[0] for e in ended if e["data"]["outcome"] == "ok"]
            assert done == [str(s["id"]) for s in sent]
            kinds = {e["kind"] for e in (await hive.ask("events", after=0, limit=500))["events"]}
            assert {"text", "tool_use", "tool_result", "turn.started", "tool", "ready"} <= kinds
        finally:
            await scout.stop()


async def _settled(hive) -> bool:
    return (await hive.ask("status"))["open"] == 0
