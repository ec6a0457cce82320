"""The tools over mcp.sock: each effect once, reminders, the manager's."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid

import pytest
from support.broker_rig import ToolFailed, agent, rig, until

from hive_wire.jsonrpc import Peer
from hive_wire.rpc_errors import RpcError
from hive_wire.sockets import listen

A, B, M = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "mmmmmmmmmmmm"


async def bodies(hive) -> list[str]:
    found = await hive.ask("messages", after=0, limit=500)
    return [m["body"] for m in found["messages"]]


# -- once ----------------------------------------------------------------------------


async def test_a_call_of_one_name_takes_effect_once(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="go", by="ann")
        turn = (await scout.granted())["turn"]
        one, two = await hive.tools(A), await hive.tools(A)
        call = f"{turn}:1"
        answers = await asyncio.gather(
            *(t.call("send", call, to="cook", body="soup") for t in (one, two))
        )
        assert answers[0] == answers[1]
        other = await one.call("send", f"{turn}:2", to="cook", body="soup")
        assert other != answers[0]
        await hive.kill()
        await hive.start()
        again = await hive.tools(A)  # before the harness is back
        assert await again.call("send", call, to="cook", body="soup") == answers[0]
        assert await bodies(hive) == ["go", "soup", "soup"]


async def test_a_result_the_engine_never_got_answers_the_repeated_call(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        await hive.ask("send", to="scout", body="go", by="ann")
        turn = (await scout.granted())["turn"]
        got = await tools.call("send", f"{turn}:1", to="cook", body="handed")
        lost = await tools.call("send", f"{turn}:2", to="cook", body="not handed")
        running = {"turn": turn, "handed": [f"{turn}:1"]}
        await scout.hello(boot=str(uuid.uuid4()), running=running, session="s")
        assert await tools.call("send", f"{turn}:3", to="cook", body="not handed") == lost
        new = await tools.call("send", f"{turn}:4", to="cook", body="not handed")
        assert new not in (got, lost)
        assert await tools.call("send", f"{turn}:5", to="cook", body="handed") != got
        assert await bodies(hive) == ["go", "handed", "not handed", "not handed", "handed"]


@pytest.mark.parametrize(
    ("cause", "again"), [("restarted", False), ("engine_crash", False), ("overloaded", True)]
)
async def test_a_blind_retry_repeats_without_effect(tmp_path, cause, again):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        await hive.ask("send", to="scout", body="go", by="ann")
        turn = (await scout.granted())["turn"]
        first = await tools.call("send", f"{turn}:1", to="cook", body="soup")
        await scout.end(turn, "failed", cause=cause, retry_at=time.time())
        turn = (await scout.granted())["turn"]
        second = await tools.call("send", f"{turn}:1", to="cook", body="soup")
        assert (second != first) is again
        third = await tools.call("send", f"{turn}:2", to="cook", body="soup")
        assert third not in (first, second)


@pytest.mark.parametrize("broker_dies", [False, True])
async def test_a_call_that_an_interrupt_cut_answers_the_next_attempt(tmp_path, broker_dies):
    """The engine was told that it was interrupted; the call had taken effect."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        await hive.ask("send", to="scout", body="go", by="ann")
        turn = (await scout.granted())["turn"]
        seen = await tools.call("send", f"{turn}:1", to="cook", body="bread")
        cut = await tools.call("send", f"{turn}:2", to="cook", body="soup")
        unseen = [f"{turn}:2"]
        await scout.end(turn, "failed", cause="stopped", retry_at=time.time(), unseen=unseen)
        if broker_dies:
            await hive.kill()
            await hive.start()
            await scout.hello()
            tools = await hive.tools(A)
        turn = (await scout.granted())["turn"]
        assert await tools.call("send", f"{turn}:1", to="cook", body="soup") == cut
        assert await tools.call("send", f"{turn}:2", to="cook", body="soup") != cut
        assert await tools.call("send", f"{turn}:3", to="cook", body="bread") != seen
        assert await bodies(hive) == ["go", "bread", "soup", "soup", "bread"]


async def test_a_fresh_session_repeats_without_effect(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        await hive.ask("send", to="scout", body="go", by="ann")
        turn = (await scout.granted())["turn"]
        first = await tools.call("send", f"{turn}:1", to="cook", body="soup")
        await scout.end(turn, "failed", counted=True, cause="prompt_too_long", discarded=True)
        turn = (await scout.granted())["turn"]
        assert await tools.call("send", f"{turn}:1", to="cook", body="soup") == first
        assert await tools.call("send", f"{turn}:2", to="cook", body="bread") != first
        await scout.end(turn)
        assert await bodies(hive) == ["go", "soup", "bread"]


async def test_a_call_of_a_turn_that_is_over_does_nothing(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        await hive.ask("send", to="scout", body="go", by="ann")
        turn = (await scout.granted())["turn"]
        await scout.end(turn)
        with pytest.raises(ToolFailed, match="is over; nothing was done"):
            await tools.call("send", f"{turn}:1", to="cook", body="late")
        with pytest.raises(ToolFailed, match="no name of a call"):
            await tools.call("send", "nonsense", to="cook", body="late")
        assert await bodies(hive) == ["go"]


async def test_errors_say_what_to_do(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        tools = await hive.tools(A)
        with pytest.raises(ToolFailed, match="did you mean 'in_reply_to'"):
            await tools.call("send", to="operator", body="x", in_reply=1)
        with pytest.raises(ToolFailed, match="body: Field required"):
            await tools.call("send", to="operator")
        with pytest.raises(ToolFailed, match="you have: send, recv"):
            await tools.call("request_spawn", name="x", description="")
        with pytest.raises(ToolFailed, match="no turn runs"):
            await tools.call("recv")
        expected = [("send", False), ("send", False), ("recv", False)]
        await until(lambda: _used(hive, expected), "the tools' events")


async def _used(hive, expected: list[tuple[str, bool]]) -> bool:
    events = (await hive.ask("events", kinds=["tool"], after=0))["events"]
    return [(e["data"]["name"], e["data"]["ok"]) for e in events] == expected


async def test_a_flood_of_calls_is_an_error(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="go", by="ann")
        await scout.granted()
        tools, cook = await hive.tools(A), await hive.tools(B)
        for n in range(100):
            params = {"name": "recv", "arguments": {"wait_seconds": 30}}
            ask = {"jsonrpc": "2.0", "id": 1000 + n, "method": "tools/call", "params": params}
            tools.writer.write(json.dumps(ask).encode() + b"\n")
        with pytest.raises(ToolFailed, match="64 calls run already"):
            await tools.call("ask_operator", question="?")
        await cook.call("ask_operator", question="?")  # another agent is not touched


# -- reminders -----------------------------------------------------------------------


async def test_a_reminder_comes_back_as_a_message(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        tools = await hive.tools(A)
        made = await tools.call("remind", at="1s", body="wake up")
        every = await tools.call("remind", every="1h", body="hourly")
        assert abs(every["due"] - time.time() - 3600) < 10
        await hive.kill()
        await hive.start()
        scout = await hive.harness(A)
        message = (await scout.granted())["message"]
        assert (message["kind"], message["sender"], message["body"]) == (
            "reminder", "system", "wake up",
        )  # fmt: skip
        assert message["data"] == {"id": made["id"], "every": None}
        tools = await hive.tools(A)
        with pytest.raises(ToolFailed, match=f"you have: {every['id']}"):
            await tools.call("cancel_reminder", id=made["id"])
        assert await tools.call("cancel_reminder", id=every["id"]) == {"cancelled": every["id"]}
        for wrong in ({"at": "soon"}, {"every": "1s"}, {}, {"at": "1h", "every": "1h"}):
            with pytest.raises(ToolFailed):
                await tools.call("remind", body="x", **wrong)


async def test_reminders_hold_so_much_text_and_no_more(tmp_path):
    """Each may come every minute, and what came is kept for a month."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        tools = await hive.tools(A)
        first = await tools.call("remind", every="1m", body="x" * 200_000)
        with pytest.raises(ToolFailed, match="over 256 KiB of text; cancel one"):
            await tools.call("remind", every="1m", body="x" * 100_000)
        await tools.call("cancel_reminder", id=first["id"])
        await tools.call("remind", every="1m", body="x" * 100_000)


# -- the manager's -------------------------------------------------------------------


async def test_wishes_go_to_the_reconciler_once(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(M, "hm1nd", role="manager"), agent(A, "scout"))
        boss, tools = await hive.harness(M), await hive.tools(M)
        await hive.ask("send", to="hm1nd", body="go", by="ann")
        turn = (await boss.granted())["turn"]
        with pytest.raises(ToolFailed, match="reconciler is away"):
            await tools.call("list_agents")
        heard = []

        def note(method: str, answer: dict):
            def handle(_: Peer, params: dict) -> dict:
                heard.append((method, params))
                if params.get("agent") == "bad":
                    raise RpcError(1, "the name is taken")
                return answer

            return handle

        proposal = {"proposal": 7, "state": "open", "message": "waits for a person"}
        handlers = {
            "submit": note("submit", proposal),
            "power": note("power", proposal),
            "list": note("list", {"agents": [{"name": "scout"}]}),
        }
        server = await listen(hive.layout.requests_sock, lambda: Peer(handlers))

        async def listed() -> bool:
            try:
                return (await tools.call("list_agents")) == {"agents": [{"name": "scout"}]}
            except ToolFailed:
                return False

        await until(listed, "the link is up")
        heard.clear()
        spawn = {"name": "cook", "description": "cooks", "settings": {"model": "m"}}
        for _ in range(3):
            assert await tools.call("request_spawn", f"{turn}:1", **spawn) == proposal
        await tools.call("request_apply_commit", f"{turn}:2", agent="scout", commit="abcdef1")
        await tools.call("kill", f"{turn}:3", agent="scout", reason="idle")
        with pytest.raises(ToolFailed, match="the name is taken"):
            await tools.call("restart", f"{turn}:4", agent="bad")
        with pytest.raises(ToolFailed, match="commit"):
            await tools.call("request_apply_commit", agent="scout", commit="main; rm -rf /")
        keys = [params.pop("key") for _, params in heard]
        assert len(set(keys)) == 4
        assert all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)
        assert heard == [
            ("submit", {"uid": M, "kind": "spawn", "agent": "cook", "description": "cooks",
                        "settings": {"model": "m"}}),
            ("submit", {"uid": M, "kind": "apply", "agent": "scout", "commit": "abcdef1",
                        "description": ""}),
            ("power", {"uid": M, "action": "stop", "agent": "scout", "reason": "idle"}),
            ("power", {"uid": M, "action": "restart", "agent": "bad", "reason": ""}),
        ]  # fmt: skip
        server.close()
