"""mcp.sock with the official SDK's client, and with clients that mean no good."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import anyio
import mcp_types as types
import pytest
from mcp.client.session import ClientSession
from mcp.shared.message import SessionMessage
from support.broker_rig import agent, rig

A, M = "aaaaaaaaaaaa", "mmmmmmmmmmmm"


@asynccontextmanager
async def session(path):
    """The SDK's client over a unix socket."""
    reader, writer = await asyncio.open_unix_connection(path, limit=4 << 20)
    to_client, client_reads = anyio.create_memory_object_stream(0)
    client_writes, from_client = anyio.create_memory_object_stream(0)

    async def inward() -> None:
        async with to_client:
            while line := await reader.readline():
                message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                await to_client.send(SessionMessage(message))

    async def outward() -> None:
        async with from_client:
            async for item in from_client:
                dumped = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                writer.write(dumped.encode() + b"\n")
                await writer.drain()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inward)
        tasks.start_soon(outward)
        async with ClientSession(client_reads, client_writes) as client:
            await client.initialize()
            yield client
        tasks.cancel_scope.cancel()
    writer.close()


async def test_the_official_client(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(M, "hm1nd", role="manager"), agent(A, "scout"))
        scout = await hive.harness(A)
        async with session(hive.layout.agent_run(M) / "mcp.sock") as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {
                "send", "recv", "ask_operator", "withdraw_question", "remind",
                "cancel_reminder", "request_spawn",
                "request_apply_commit", "kill", "start", "restart", "list_agents",
            }  # fmt: skip
            schema = tools["send"].input_schema
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) == {"to", "body"}
            assert "title" not in json.dumps(tools["send"].input_schema)
            result = await client.call_tool("send", {"to": "scout", "body": "hello"})
            assert not result.is_error
            sent = json.loads(result.content[0].text)
            assert (await scout.granted())["message"]["id"] == sent["id"]
            result = await client.call_tool("send", {"to": "scuot", "body": "hello"})
            assert result.is_error
            assert "did you mean scout" in result.content[0].text
            result = await client.call_tool("nonsense", {})
            assert result.is_error
            await client.send_ping()


async def raw(path, data: bytes) -> list[dict]:
    """What comes back until the broker closes the connection, or nothing more comes."""
    reader, writer = await asyncio.open_unix_connection(path, limit=4 << 20)
    writer.write(data)
    answers = []
    try:
        async with asyncio.timeout(10):
            while line := await reader.readline():
                answers.append(json.loads(line))
    finally:
        writer.close()
    return answers


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


async def test_what_is_no_json_gets_an_error_and_ends_that_connection(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        path = hive.layout.agent_run(A) / "mcp.sock"
        good = await hive.tools(A)
        for bad in (
            b"hello\n",
            b"[]\n",
            b'{"jsonrpc":"2.0"}\n',
            b"\xff\xfe\n",
            b'"\\ud800"\n',
            b"[" * 9000 + b"\n",
        ):
            answers = await raw(path, json.dumps(INITIALIZE).encode() + b"\n" + bad)
            [error] = [answer for answer in answers if "error" in answer]
            assert (error["id"], error["error"]["code"]) == (None, -32700)
        assert (await good.ask("tools/list"))["tools"]


async def test_an_unknown_method_is_an_error_and_no_end(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        tools = await hive.tools(A)
        with pytest.raises(Exception, match="Method not found"):
            await tools.ask("server/nonsense")
        await tools.ask("tools/list")


WRONG = (
    b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{}}',
    b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":5,"arguments":{}}}',
    b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"send","arguments":[]}}',
    b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"send","arguments":{"to":1}}}',
    b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"send","arguments":{},'
    b'"_meta":{"hive/call":"../../x"}}}',
    b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"recv","arguments":{},'
    b'"_meta":{"hive/call":{"a":1}}}}',
    b'{"jsonrpc":"2.0","id":9,"method":"initialize","params":{"protocolVersion":[]}}',
    b'{"jsonrpc":"2.0","id":9,"method":"resources/read","params":{"uri":"file:///etc/passwd"}}',
    b'{"jsonrpc":"2.0","id":9,"method":"prompts/get","params":{"name":"x"}}',
    b'{"jsonrpc":"2.0","id":9,"method":"\\u0000","params":{}}',
)  # fmt: skip


async def test_requests_that_mean_nothing_are_answered_with_errors(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        tools = await hive.tools(A)
        for line in WRONG:
            tools.writer.write(line + b"\n")
            async with asyncio.timeout(10):
                answer = json.loads(await tools.reader.readline())
            wrong = "error" in answer or answer["result"].get("isError")
            assert (answer["id"], bool(wrong)) == (9, True), line
        for quiet in (
            b'{"jsonrpc":"2.0","method":"notifications/nonsense"}\n',
            b'{"jsonrpc":"2.0","id":77,"result":{}}\n',
            b'{"jsonrpc":"2.0","id":78,"error":{"code":1,"message":"x"}}\n',
        ):
            tools.writer.write(quiet)
        assert (await tools.ask("tools/list"))["tools"]
        assert (await hive.ask("status"))["open"] == 0
        assert "Traceback" not in hive.log()


async def test_too_many_connections_of_one_agent_are_refused(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(M, "boss"))
        path = hive.layout.agent_run(A) / "mcp.sock"
        await hive.tools(A)
        streams = [await asyncio.open_unix_connection(path) for _ in range(40)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in streams]
        done, _ = await asyncio.wait(ended, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert done
        await hive.tools(M)  # another agent is not touched
        for _, writer in streams:
            writer.close()
        await asyncio.gather(*ended, return_exceptions=True)
