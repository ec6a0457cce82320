"""A wish whose answer was lost is asked again, and is the same wish."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.broker_rig import ToolFailed, agent, rig, until
from support.git_work import Clone, manager_of

from hive_reconciler.git.hive import Hive
from hive_wire.jsonrpc import Peer
from hive_wire.sockets import listen

A = "aaaaaaaaaaaa"
WISHES = {
    "request_spawn": {"name": "scout", "description": "looks ahead"},
    "request_apply_commit": {"agent": "hm1nd", "description": "more memory"},
    "restart": {"agent": "hm1nd", "reason": "try again"},
}


@pytest.mark.slow
@pytest.mark.parametrize("tool", WISHES)
async def test_a_broker_killed_between_answer_and_commit_asks_for_nothing_twice(
    tmp_path, tool
) -> None:
    async with rig(tmp_path) as broker:
        layout = broker.layout
        hive = await Hive.open(layout, runtime_reads_nix=False)
        manager = await manager_of(hive)
        clone = Clone(layout.hive_git, tmp_path / "clone")
        toml = clone.read("agents/hm1nd/agent.toml")
        commit = clone.change("agents/hm1nd/agent.toml", toml + '[limits]\nmemory = "3G"\n')
        arguments = dict(WISHES[tool])
        if tool == "request_apply_commit":
            arguments["commit"] = commit
        keys: list[str] = []

        async def ask(_: Peer, params: dict[str, Any]) -> dict[str, Any]:
            """As the reconciler answers; the broker dies before it hears the first answer."""
            keys.append(params["key"])
            name, key = params["agent"], params["key"]
            if "action" in params:
                done = await hive.submit_power(manager, name, params["action"], key=key)
            elif params["kind"] == "spawn":
                done = await hive.submit_spawn(manager, name, params["description"], key=key)
            else:
                fetch = clone.fetch(commit)
                done = await hive.submit_commit(manager, name, commit, "", fetch, key=key)
            if len(keys) == 1:
                await broker.kill()
            return {"proposal": done.n, "state": done.state, "message": done.message}

        server = await listen(
            layout.requests_sock, lambda: Peer({"submit": ask, "power": ask, "list": listed})
        )
        await broker.registry(agent(manager.uid, "hm1nd", role="manager"))
        harness = await broker.harness(manager.uid)
        await broker.ask("send", to="hm1nd", body="work", by="ann")
        turn = (await harness.granted())["turn"]
        tools = await broker.tools(manager.uid)
        await until(lambda: linked(tools), "the link is up")
        call = f"{turn}:1"
        with pytest.raises(ConnectionError):
            await tools.call(tool, call, **arguments)

        await broker.start()
        running = {"turn": turn, "handed": []}
        await broker.harness(manager.uid, boot=harness.boot, running=running)
        tools = await broker.tools(manager.uid)
        await until(lambda: linked(tools), "the link is up again")
        answer = await tools.call(tool, call, **arguments)
        assert keys == [keys[0]] * 2
        assert [answer["proposal"]] == [p.n for p in await hive.proposals()]
        server.close()
        await hive.close()


def listed(_: Peer, _params: dict[str, Any]) -> dict[str, Any]:
    return {"agents": []}


async def linked(tools) -> bool:
    try:
        return (await tools.call("list_agents")) == {"agents": []}
    except ToolFailed:
        return False


async def test_the_same_wish_twice_at_once_is_two_wishes(hive) -> None:
    """As it is when the second comes after the first was answered."""
    keys: list[str] = []
    both_asked = asyncio.Event()

    async def ask(_: Peer, params: dict[str, Any]) -> dict[str, Any]:
        keys.append(params["key"])
        await both_asked.wait()
        return {"proposal": len(set(keys)), "state": "open", "message": "waits"}

    server = await listen(hive.layout.requests_sock, lambda: Peer({"power": ask, "list": listed}))
    await hive.registry(agent(A, "hm1nd", role="manager"))
    harness = await hive.harness(A)
    await hive.ask("send", to="hm1nd", body="work", by="ann")
    turn = (await harness.granted())["turn"]
    tools = [await hive.tools(A) for _ in range(3)]
    await until(lambda: linked(tools[2]), "the link is up")
    wishes = [
        asyncio.create_task(tools[n].call("restart", f"{turn}:{n + 1}", agent="scout"))
        for n in range(2)
    ]
    await until(lambda: keys, "the first is asked")
    await until(lambda: linked(tools[2]), "what came at once was read")
    both_asked.set()
    answers = await asyncio.gather(*wishes)
    assert sorted(answer["proposal"] for answer in answers) == [1, 2]
    assert len(set(keys)) == len(keys) == 2
    again = await tools[2].call("restart", f"{turn}:3", agent="scout")
    assert again["proposal"] == 3
    server.close()


@pytest.mark.parametrize("broker_dies", [False, True])
async def test_a_wish_that_is_answered_behind_the_end_of_its_attempt_is_one(
    hive, broker_dies
) -> None:
    """The engine died while it waited. The next attempt wishes the same."""
    keys: list[str] = []
    answered = asyncio.Event()

    async def ask(_: Peer, params: dict[str, Any]) -> dict[str, Any]:
        keys.append(params["key"])
        await answered.wait()
        return {"proposal": len(set(keys)), "state": "open", "message": "waits"}

    server = await listen(hive.layout.requests_sock, lambda: Peer({"power": ask, "list": listed}))
    await hive.registry(agent(A, "hm1nd", role="manager"))
    harness = await hive.harness(A)
    await hive.ask("send", to="hm1nd", body="work", by="ann")
    turn = (await harness.granted())["turn"]
    tools, others = await hive.tools(A), await hive.tools(A)
    await until(lambda: linked(others), "the link is up")
    wish = asyncio.create_task(tools.call("restart", f"{turn}:1", agent="scout"))
    await until(lambda: keys, "it is asked")
    unseen = [f"{turn}:1"]
    await harness.end(turn, "failed", cause="engine_crash", retry_at=0.0, unseen=unseen)
    turn = (await harness.granted())["turn"]
    answered.set()
    assert (await wish)["proposal"] == 1
    if broker_dies:
        await hive.kill()
        await hive.start()
        await harness.hello(running={"turn": turn})
        others = await hive.tools(A)
        await until(lambda: linked(others), "the link is up again")
    again = await others.call("restart", f"{turn}:1", agent="scout")
    assert again["proposal"] == 1
    assert len(set(keys)) == 1
    server.close()
