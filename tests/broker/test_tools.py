"""The tools over mcp.sock: each effect once, recv, questions, reminders, the manager's."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid

import pytest
from support.broker_rig import ToolFailed, agent, rig, until

from hive_wire.jsonrpc import Peer
from hive_wire.pages import QUESTIONS, ask_whole
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


# -- recv ----------------------------------------------------------------------------


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


async def test_a_turn_that_a_lost_harness_had_settles_nothing_unseen(tmp_path):
    """The next boot knows nothing of it: perhaps the engine never got what recv answered."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        for n in range(2):
            await hive.ask("send", to="scout", body=f"n{n}", by="ann")
        turn = (await scout.granted())["turn"]
        await tools.call("recv", f"{turn}:1")
        await scout.hello(boot=str(uuid.uuid4()), session="s")
        await scout.end((await scout.granted())["turn"])
        assert (await scout.granted())["message"]["body"] == "n1"


async def test_what_an_attempt_before_the_lost_one_was_given_is_given_once(tmp_path):
    """Its end said that the engine had it, and the session goes on."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        for n in range(2):
            await hive.ask("send", to="scout", body=f"n{n}", by="ann")
        turn = (await scout.granted())["turn"]
        await tools.call("recv", f"{turn}:1")
        await scout.end(turn, "failed", cause="server_error", retry_at=0.0)
        await scout.granted()  # and is killed before it notes that
        await scout.hello(boot=str(uuid.uuid4()), session="s")
        await scout.end((await scout.granted())["turn"])
        assert (await hive.ask("status"))["open"] == 0


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


# -- questions -----------------------------------------------------------------------


async def test_a_question_returns_at_once_and_its_answer_is_a_message(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        asked = await tools.call("ask_operator", question="Which?", options=["red", "blue"])
        [open_one] = (await hive.ask("questions", limit=5))["questions"]
        assert (open_one["id"], open_one["agent"], open_one["state"]) == (
            asked["id"], "scout", "open",
        )  # fmt: skip
        with pytest.raises(RpcError, match="red, blue"):
            await hive.ask("answer", id=asked["id"], by="ann", choices=["green"])
        await hive.ask("answer", id=asked["id"], by="ann", text="the dark one", choices=["blue"])
        message = (await scout.granted())["message"]
        assert message["kind"] == "operator_answered"
        assert message["data"] == {
            "id": asked["id"], "question": "Which?", "text": "the dark one",
            "choices": ["blue"], "late": False,
        }  # fmt: skip
        assert "blue; the dark one" in message["body"]
        with pytest.raises(RpcError, match="answered by ann"):
            await hive.ask("answer", id=asked["id"], by="bob", text="no", choices=None)
        assert (await hive.ask("questions", limit=5))["questions"] == []
        [done] = (await hive.ask("questions", open=False, limit=5))["questions"]
        assert (done["state"], done["answered_by"]) == ("answered", "ann")


async def test_a_question_expires_and_may_be_answered_late(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        asked = await tools.call("ask_operator", question="Now?", ttl_seconds=1)
        await hive.kill()  # the time goes on without the broker
        await hive.start()
        await scout.hello()
        grant = await scout.granted()
        assert grant["message"]["kind"] == "question_expired"
        assert grant["message"]["data"] == {"id": asked["id"], "question": "Now?"}
        await scout.end(grant["turn"])
        await hive.ask("answer", id=asked["id"], by="ann", text="yes")
        late = (await scout.granted())["message"]
        assert late["data"]["late"] is True


async def test_questions_come_in_pages_and_are_counted(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        asked = [
            (await tools.call("ask_operator", question=f"{n}?"))["id"]
            for tools in (await hive.tools(A), await hive.tools(B))
            for n in range(4)
        ]
        await hive.ask("answer", id=asked.pop(2), by="ann", text="yes")
        found = await hive.ask("questions", limit=3)
        assert [q["id"] for q in found["questions"]] == asked[:3]
        assert (found["next"], found["open"]) == (asked[2], 7)
        whole = await ask_whole(hive.ask, QUESTIONS, limit=3)
        assert [q["id"] for q in whole["questions"]] == asked
        found = await hive.ask("questions", after=asked[3], limit=3)
        assert [q["id"] for q in found["questions"]] == asked[4:]
        assert found["next"] is None
        every = await ask_whole(hive.ask, QUESTIONS, open=False, limit=3)
        assert len(every["questions"]) == 8
        assert every["questions"][0]["id"] == asked[-1]


async def test_a_question_is_withdrawn_by_its_asker_only(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        tools, cook = await hive.tools(A), await hive.tools(B)
        asked = (await tools.call("ask_operator", question="Which?"))["id"]
        with pytest.raises(ToolFailed, match=f"no open question {asked}; you have: none"):
            await cook.call("withdraw_question", id=asked)
        assert await tools.call("withdraw_question", id=asked) == {
            "id": asked,
            "state": "withdrawn",
        }
        assert (await hive.ask("questions"))["questions"] == []
        with pytest.raises(RpcError, match="was withdrawn already"):
            await hive.ask("answer", id=asked, by="ann", text="red")
        with pytest.raises(ToolFailed, match="you have: none"):
            await tools.call("withdraw_question", id=asked)
        assert (await hive.status(A))["queued"] == 0


async def test_nothing_in_a_container_answers(tmp_path):
    """Not over mcp.sock, not over harness.sock; and not the gateway over broker.sock."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout", role="manager"))
        tools, scout = await hive.tools(A), await hive.harness(A)
        asked = (await tools.call("ask_operator", question="May I?"))["id"]
        for method in ("answer", "question.hold", "dead.retry", "send", "system", "undamp"):
            with pytest.raises(RpcError, match="there is no method"):
                await scout.ask(method, id=asked, by="ann", text="yes")
            with pytest.raises(RpcError, match="Method not found"):
                await tools.ask(method, id=asked, by="ann", text="yes")
            with pytest.raises(ToolFailed, match="you have no tool" if method != "send" else "key"):
                await tools.call(method, id=asked, by="ann", text="yes")
        assert [q["id"] for q in (await hive.ask("questions"))["questions"]] == [asked]


async def test_typing_holds_a_question(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        tools = await hive.tools(A)
        asked = await tools.call("ask_operator", question="Now?", ttl_seconds=2)
        held = await hive.ask("question.hold", id=asked["id"])
        assert held["expires"] > time.time() + 50
        with pytest.raises(RpcError, match="no question 77"):
            await hive.ask("question.hold", id=77)


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
