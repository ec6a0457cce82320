"""What people see of a harness, and what they say to it."""

from __future__ import annotations

import time

import pytest
from support.broker_rig import agent, until

from hive_wire.rpc_errors import RpcError

A = "aaaaaaaaaaaa"


async def _offline(hive) -> bool:
    return not (await hive.status(A))["ready"]


async def test_interrupt_and_commands_reach_the_harness(hive):
    await hive.registry(agent(A, "scout"))
    with pytest.raises(RpcError, match="offline"):
        await hive.ask("command", uid=A, command="compact", by="ann")
    scout = await hive.harness(A)
    await hive.ask("interrupt", uid=A, by="ann")  # nothing runs
    await hive.ask("send", to="scout", body="x", by="ann")
    turn = (await scout.granted())["turn"]
    await hive.ask("interrupt", uid=A, by="ann")
    scout.answers["command"] = lambda *_: {"text": "done"}
    answer = await hive.ask("command", uid=A, command="model", argument="m", by="ann")
    assert answer == {"text": "done"}
    assert scout.asked.get_nowait() == ("interrupt", {"turn": turn})
    assert scout.asked.get_nowait() == ("command", {"command": "model", "argument": "m"})


async def test_states_are_shown_with_their_age(hive):
    await hive.registry(agent(A, "scout"))
    assert (await hive.status(A))["state"] == "offline"
    scout = await hive.harness(A)
    await scout.ask("state", state="rate-limited", detail="five hours", until=5e9)
    status = await hive.status(A)
    assert (status["state"], status["until"]) == ("rate-limited", 5e9)
    assert abs(status["since"] - time.time()) < 10
    scout.close()
    await until(lambda: _offline(hive), "offline")
    await until(lambda: _states(hive, ["starting", "rate-limited", "offline"]), "states")
    kinds = [e["kind"] for e in await hive.events("ready", "offline")]
    assert kinds == ["ready", "offline"]


async def _details(hive, expected: list[str]) -> bool:
    return [e["data"]["detail"] for e in await hive.events("state")] == expected


async def _states(hive, expected: list[str]) -> bool:
    return [e["data"]["state"] for e in await hive.events("state")] == expected


async def test_people_see_why_a_hello_is_refused(hive):
    await hive.registry(agent(A, "scout"))
    for wrong in ({"ended": [{"turn": "9.1"}]}, {"mood": "good"}):
        with pytest.raises(RpcError):
            await hive.harness(A, **wrong)
    status = await hive.status(A)
    assert status["state"] == "offline"
    words = ["ended.0.outcome: Field required", "mood: is no key here"]
    said = [f"its harness is refused, see hive logs scout: {why}" for why in words]
    assert status["detail"] == said[1]
    await until(lambda: _details(hive, said), "both are in the history")
    scout = await hive.harness(A)
    assert (await hive.status(A))["detail"] == ""
    with pytest.raises(RpcError):  # another program in the container
        await hive.harness(A, mood="good")
    assert (await hive.status(A))["ready"]
    scout.close()
    await until(lambda: _offline(hive), "offline")
    assert (await hive.status(A))["detail"] == ""
