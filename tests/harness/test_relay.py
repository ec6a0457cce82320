"""The engine's MCP traffic on its way to the broker, without an engine."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from support.fake_broker import FakeBroker

from hive_harness.relay import McpRelay

HELLO = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "1"}}


async def test_requests_of_one_id_at_the_same_time_are_all_answered(tmp_path: Path) -> None:
    """The CLI sometimes begins anew before its first handshake is answered."""
    relay = McpRelay(tmp_path / "mcp.sock", lambda _: None, lambda: None)
    relay.start()
    tools: dict[str, Any] = {"jsonrpc": "2.0", "id": 0, "method": "tools/list"}
    asked = [asyncio.create_task(relay.serve(line)) for line in (HELLO, HELLO, tools)]
    await asyncio.sleep(0)  # the broker is away: all of them wait
    async with FakeBroker(tmp_path), asyncio.timeout(10):
        answers = await asyncio.gather(*asked)
    relay.stop()
    assert [answer["id"] for answer in answers] == [0, 0, 0]
    assert ["serverInfo" in answer["result"] for answer in answers] == [True, True, False]


async def test_a_call_is_cancelled_under_the_id_that_the_broker_knows(tmp_path: Path) -> None:
    came: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            came.put_nowait(json.loads(line))
        writer.close()

    async with await asyncio.start_unix_server(hear, tmp_path / "mcp.sock"), asyncio.timeout(10):
        relay = McpRelay(tmp_path / "mcp.sock", lambda _: None, lambda: None)
        relay.start()
        calls = [
            asyncio.create_task(relay.serve({**HELLO, "id": ident, "method": "tools/call"}))
            for ident in (7, 8)
        ]
        known = [(await came.get())["id"] for _ in calls]
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
        for ident in (8, 9):
            await relay.serve({**cancelled, "params": {"requestId": ident, "reason": "x"}})
        told = [(await came.get())["params"] for _ in range(2)]
        assert told == [{"requestId": known[1], "reason": "x"}, {"requestId": 0, "reason": "x"}]
        relay.stop()
        await asyncio.gather(*calls, return_exceptions=True)
