"""Messages: threads, everyone, walls, sizes, keys; errors where the sender looks."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.broker_rig import ToolFailed, agent, rig, until

from hive_wire.frames import MAX_FRAME
from hive_wire.protocol import MAX_BODY, Message
from hive_wire.rpc_errors import NOT_FOUND, REFUSED, RpcError

A, B, C = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"


async def test_a_message_from_the_operator(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        sent = await hive.ask("send", to="scout", body="look there", by="ann")
        message = Message.model_validate((await scout.granted())["message"])
        assert (message.sender, message.to, message.kind) == ("operator", "scout", "text")
        assert (message.id, message.thread, message.body) == (sent["id"], sent["id"], "look there")
        assert message.data == {"by": "ann"}


async def test_answers_stay_in_their_thread(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"), agent(C, "thief"))
        scout, cook = await hive.harness(A), await hive.harness(B)
        first = await hive.ask("send", to="scout", body="hello", by="ann")
        await scout.granted()
        tools, thief = await hive.tools(A), await hive.tools(C)
        on = await tools.call("send", to="cook", body="he said hello", in_reply_to=first["id"])
        assert on["thread"] == first["id"]
        grant = await cook.granted()
        assert grant["message"]["in_reply_to"] == first["id"]
        back = await hive.ask("send", to="cook", body="yes", by="ann", in_reply_to=on["id"])
        assert back["thread"] == first["id"]
        with pytest.raises(ToolFailed, match=f"you have no message {on['id']}"):
            await thief.call("send", to="scout", body="me too", in_reply_to=on["id"])
        with pytest.raises(RpcError, match="there is no message 999"):
            await hive.ask("send", to="cook", body="x", by="ann", in_reply_to=999)
        kept = await hive.ask("send", to="cook", body="x", by="ann", thread=first["id"])
        assert kept["thread"] == first["id"]


async def test_everyone_is_one_body_and_one_delivery_each(tmp_path):
    async with rig(tmp_path) as hive:
        uids = [f"{n:012d}" for n in range(30)]
        await hive.registry(*(agent(uid, f"a{n}") for n, uid in enumerate(uids)))
        harnesses = [await hive.harness(uid) for uid in uids]
        tools = await hive.tools(uids[0])
        sent = await tools.call("send", to="everyone", body="meeting")
        grants = await asyncio.gather(*(h.granted() for h in harnesses[1:]))
        assert {g["message"]["id"] for g in grants} == {sent["id"]}
        assert {g["message"]["to"] for g in grants} == {"everyone"}
        assert harnesses[0].grants.empty()
        await hive.ask("send", to="everyone", body="from me", by="ann")
        assert (await harnesses[0].granted())["message"]["body"] == "from me"

        async def stored() -> bool:
            return (await hive.ask("status"))["messages"] == 2

        await until(stored, "both are counted")


async def test_walls_and_near_names(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout", may_send_to=["cook", "operator"]), agent(B, "cook"))
        tools = await hive.tools(A)
        with pytest.raises(ToolFailed, match="you may write to: cook, operator"):
            await tools.call("send", to="everyone", body="x")
        with pytest.raises(ToolFailed, match="did you mean cook"):
            await tools.call("send", to="coock", body="x")
        with pytest.raises(ToolFailed, match="remind"):
            await tools.call("send", to="scout", body="x")
        await tools.call("send", to="operator", body="found it")
        [inbox] = (await hive.ask("inbox", limit=5))["messages"]
        assert (inbox["sender"], inbox["to"], inbox["body"]) == ("scout", "operator", "found it")
        with pytest.raises(RpcError, match="did you mean scout") as unknown:
            await hive.ask("send", to="scot", body="x", by="ann")
        assert unknown.value.code == NOT_FOUND
        with pytest.raises(RpcError, match="name an agent"):
            await hive.ask("send", to="operator", body="x", by="ann")
        await hive.registry(agent(A, "scout"), agent(B, "cook"))  # the wall falls
        await tools.call("send", to="everyone", body="x")


async def test_sizes(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        cook = await hive.harness(B)
        tools = await hive.tools(A)
        await tools.call("send", to="cook", body="x" * MAX_BODY)
        assert len((await cook.granted())["message"]["body"]) == MAX_BODY
        for body in ("x" * (MAX_BODY + 1), "\x01" * 150_000, "", "  "):
            with pytest.raises(ToolFailed, match="body"):
                await tools.call("send", to="cook", body=body)
        with pytest.raises(RpcError, match="262144 are the most") as refused:
            await hive.ask("send", to="cook", body="x" * (MAX_BODY + 1), by="ann")
        assert refused.value.code == REFUSED


async def test_a_10_mb_message_fails_where_the_sender_looks(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        tools = await hive.tools(A)
        with pytest.raises(ToolFailed, match="put the rest into a file"):
            await tools.call("send", to="cook", body="x" * (10 << 20))
        reordered = {
            "method": "tools/call",
            "params": {"name": "send", "arguments": {"to": "cook", "body": '"id":5,' * 300_000}},
            "jsonrpc": "2.0",
            "id": "at-the-end",
        }
        tools.writer.write(json.dumps(reordered).encode() + b"\n")
        answer = json.loads(await tools.reader.readline())
        assert answer["id"] == "at-the-end"
        assert answer["result"]["isError"] is True
        assert str(MAX_FRAME) in answer["result"]["content"][0]["text"]
        await tools.call("send", to="cook", body="a small one")  # the connection lives
        assert (await hive.status(B))["queued"] == 1


async def test_the_same_key_is_the_same_message(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        asked = {"to": "scout", "kind": "spawned", "body": "x is there", "data": {"agent": "x"}}
        ids = await asyncio.gather(*(hive.ask("system", key="k1", **asked) for _ in range(4)))
        assert len({i["id"] for i in ids}) == 1
        other = await hive.ask("system", key="k2", **asked)
        assert other["id"] != ids[0]["id"]
        assert (await hive.status(A))["queued"] == 2
        one = await hive.ask("send", to="scout", body="x", by="ann", key="form-1")
        await hive.kill()
        await hive.start()
        assert await hive.ask("send", to="scout", body="x", by="ann", key="form-1") == one
        assert await hive.ask("system", key="k1", **asked) == ids[0]
        assert (await hive.status(A))["queued"] == 3
        scout = await hive.harness(A)
        message = (await scout.granted())["message"]
        assert (message["sender"], message["kind"]) == ("system", "spawned")
        assert message["data"] == {"agent": "x"}


async def test_wrong_params_are_named(tmp_path):
    async with rig(tmp_path) as hive:
        for method, params, words in (
            ("send", {"to": "x", "body": "x", "by": "a", "in_reply": 5}, "mean 'in_reply_to'"),
            ("send", {"to": "x"}, "body: Field required"),
            ("hold", {"uid": "x", "token": "t", "ttl": 5}, "uid"),
            ("hold", {"uid": A, "token": "t", "ttl": 600}, "ttl"),
            ("system", {"to": "x", "kind": "text", "body": "x", "key": "k"}, "kind"),
            ("nothing", {}, "no method"),
        ):
            with pytest.raises(RpcError, match=words):
                await hive.host.request(method, params, timeout=5)


async def test_the_flow_is_paged(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        for n in range(10):
            await hive.ask("send", to="scout" if n % 2 else "cook", body=f"n{n}", by="ann")
        page = await hive.ask("messages", limit=4)
        assert [m["body"] for m in page["messages"]] == ["n6", "n7", "n8", "n9"]
        back = await hive.ask("messages", limit=4, before=page["messages"][0]["id"])
        assert [m["body"] for m in back["messages"]] == ["n2", "n3", "n4", "n5"]
        rest = await hive.ask("messages", limit=4, before=back["cursor"])
        assert [m["body"] for m in rest["messages"]] == ["n0", "n1"]
        on = await hive.ask("messages", limit=4, after=0, peer="cook")
        assert [m["body"] for m in on["messages"]] == ["n0", "n2", "n4", "n6"]
        last = await hive.ask("messages", after=on["cursor"], peer="cook")
        assert [m["body"] for m in last["messages"]] == ["n8"]
