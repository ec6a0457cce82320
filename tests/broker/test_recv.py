"""recv: a running turn takes further messages, and what its engine never saw comes again."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest
from support.broker_rig import ToolFailed, agent, rig

A = "aaaaaaaaaaaa"


async def test_recv_takes_messages_into_the_turn(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        for n in range(4):
            await hive.ask("send", to="scout", body=f"n{n}", by="ann")
        turn = (await scout.granted())["turn"]
        got = await tools.call("recv", f"{turn}:1", max=2)
        assert [m["body"] for m in got["messages"]] == ["n1", "n2"]
        assert (got["unread"], got["draining"]) == (1, False)
        await hive.kill()
        await hive.start()
        await scout.hello(running={"turn": turn, "handed": [f"{turn}:1"]})
        tools = await hive.tools(A)
        got = await tools.call("recv", f"{turn}:2", max=2)
        assert [m["body"] for m in got["messages"]] == ["n3"]
        await scout.end(turn)
        assert (await hive.ask("status"))["open"] == 0
        assert scout.grants.empty()


async def test_recv_gives_again_what_the_engine_never_got(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        for n in range(3):
            await hive.ask("send", to="scout", body=f"n{n}", by="ann")
        turn = (await scout.granted())["turn"]
        await tools.call("recv", f"{turn}:1", max=1)
        got = await tools.call("recv", f"{turn}:1", max=1)  # the same call again
        assert [m["body"] for m in got["messages"]] == ["n1"]
        await scout.hello(boot=str(uuid.uuid4()), running={"turn": turn}, session="s")
        got = await tools.call("recv", f"{turn}:2", max=5)
        assert [m["body"] for m in got["messages"]] == ["n1", "n2"]
        await scout.end(turn, "failed", counted=True, cause="model_error")
        turn = (await scout.granted())["turn"]
        assert turn.endswith(".2")
        assert scout.grants.empty()
        got = await tools.call("recv", f"{turn}:1", max=5)
        assert [m["body"] for m in got["messages"]] == ["n1", "n2"]
        await scout.end(turn, "failed", counted=True, cause="model_error", discarded=True)
        assert (await hive.status(A))["queued"] == 2
        await scout.end((await scout.granted())["turn"])
        assert (await scout.granted())["message"]["body"] == "n1"


@pytest.mark.parametrize("outcome", ["ok", "cancelled", "failed"])
async def test_what_an_engine_lost_in_a_crash_is_not_settled_with_the_turn(tmp_path, outcome):
    """The harness lived on, so no hello told of it: the turn's end does."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        for n in range(3):
            await hive.ask("send", to="scout", body=f"n{n}", by="ann")
        turn = (await scout.granted())["turn"]
        for n in (1, 2):
            await tools.call("recv", f"{turn}:{n}", max=1)
        await scout.end(turn, outcome, cause="stopped", unseen=[f"{turn}:2"])
        if outcome == "failed":  # the next attempt takes the message, or leaves it
            await hive.kill()
            await hive.start()
            await scout.hello()
            await scout.end((await scout.granted())["turn"])
        assert (await scout.granted())["message"]["body"] == "n2"
        assert (await hive.ask("status"))["open"] == 1


@pytest.mark.parametrize("before", [False, True])
async def test_what_only_a_lost_attempt_was_given_is_not_settled_unseen(tmp_path, before):
    """The next boot knows nothing of that attempt: perhaps the engine never got what recv
    answered. What an attempt `before` it was given is given once: its end said that the engine
    had it, and the session goes on."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        for n in range(2):
            await hive.ask("send", to="scout", body=f"n{n}", by="ann")
        turn = (await scout.granted())["turn"]
        await tools.call("recv", f"{turn}:1")
        if before:
            await scout.end(turn, "failed", cause="server_error", retry_at=0.0)
            await scout.granted()  # and is killed before it notes that
        await scout.hello(boot=str(uuid.uuid4()), session="s")
        await scout.end((await scout.granted())["turn"])
        assert (await hive.ask("status"))["open"] == (0 if before else 1)
        if not before:
            assert (await scout.granted())["message"]["body"] == "n1"


async def test_recv_waits_for_what_comes(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        await hive.ask("send", to="scout", body="go", by="ann")
        turn = (await scout.granted())["turn"]
        waiting = asyncio.create_task(tools.call("recv", f"{turn}:1", wait_seconds=20))
        await asyncio.sleep(0)
        await hive.ask("send", to="scout", body="more", by="ann")
        assert [m["body"] for m in (await waiting)["messages"]] == ["more"]
        began = time.monotonic()
        assert (await tools.call("recv", f"{turn}:2", wait_seconds=0.2))["messages"] == []
        assert 0.15 < time.monotonic() - began < 5
        waiting = asyncio.create_task(tools.call("recv", f"{turn}:3", wait_seconds=20))
        await hive.ask("hold", uid=A, token="t", ttl=30)
        await hive.ask("send", to="scout", body="not now", by="ann")
        got = await waiting
        assert (got["messages"], got["draining"]) == ([], True)
        await hive.ask("release", uid=A, token="t")
        waiting = asyncio.create_task(tools.call("recv", f"{turn}:4", wait_seconds=20))
        assert [m["body"] for m in (await waiting)["messages"]] == ["not now"]
        waiting = asyncio.create_task(tools.call("recv", f"{turn}:5", wait_seconds=20))
        await scout.end(turn)
        with pytest.raises(ToolFailed, match="over"):
            await waiting


async def test_recv_answers_fit_a_frame(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        for _ in range(5):
            await hive.ask("send", to="scout", body='"' * 190_000, by="ann")
        turn = (await scout.granted())["turn"]
        sizes = [
            len((await tools.call("recv", f"{turn}:{n}", max=5))["messages"]) for n in range(1, 5)
        ]
        assert sizes == [1, 1, 1, 1]
