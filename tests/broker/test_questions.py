"""Questions to the operator, asked by a tool."""

from __future__ import annotations

import time

import pytest
from support.broker_rig import ToolFailed, agent, rig

from hive_wire.pages import QUESTIONS, ask_whole
from hive_wire.rpc_errors import RpcError

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


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


async def test_the_questions_that_end_first_are_found_behind_all_others(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        tools = await hive.tools(A)

        async def ask(**more: float) -> int:
            return (await tools.call("ask_operator", question="?", **more))["id"]

        first, second = await ask(), await ask()
        late, soon = await ask(ttl_seconds=900), await ask(ttl_seconds=300)
        found = await hive.ask("questions", soonest=True, limit=3)
        assert [q["id"] for q in found["questions"]] == [soon, late, first]
        assert (found["open"], found["next"]) == (4, None)
        found = await hive.ask("questions", soonest=True)
        assert [q["id"] for q in found["questions"]] == [soon, late, first, second]


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
