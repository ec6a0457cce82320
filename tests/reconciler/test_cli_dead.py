"""hive dead, hive mcp, and what hive status says of messages, against a real broker."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from support.broker_rig import Rig, agent, rig

from hive_broker.store.highwater import HighWater, Marks
from hive_wire.jsonrpc import Peer
from hive_wire.sockets import listen

pytestmark = pytest.mark.slow

A = "aaaaaaaaaaaa"
HIVE = (sys.executable, "-m", "hive_reconciler.app.cli")


async def hive(root: Path, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *HIVE, *arguments, "--root", str(root),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def bury(broker: Rig, body: str) -> int:
    """A message that its agent failed at five times."""
    sent: int = (await broker.ask("send", to="scout", body=body, by="ann"))["id"]
    harness = await broker.harness(A)
    for _ in range(5):
        turn = (await harness.granted())["turn"]
        await harness.end(turn, "failed", counted=True, cause="model_error")
    harness.close()
    return sent


async def test_dead_letters_are_listed_retried_and_dropped(tmp_path):
    async with rig(tmp_path) as broker:
        await broker.registry(agent(A, "scout"))
        assert (await hive(tmp_path, "dead"))[:2] == (0, "no dead letters\n")
        first = await bury(broker, "hard\x1b[31m work")
        status, out, _ = await hive(tmp_path, "dead")
        assert status == 0
        assert f"{first}" in out
        assert "model_error  hard⟨U+001B⟩[31m work" in out
        letters = json.loads((await hive(tmp_path, "dead", "--json"))[1])
        assert [(d["id"], d["agent"], d["attempts"]) for d in letters] == [(first, "scout", 5)]

        status, out, _ = await hive(tmp_path, "dead", "retry", str(first))
        assert (status, out) == (0, f"message {first} to scout is tried again\n")
        scout = await broker.harness(A)
        grant = await scout.granted()
        assert grant["message"]["id"] == first
        await scout.end(grant["turn"])
        scout.close()

        second = await bury(broker, "harder")
        status, out, _ = await hive(tmp_path, "dead", "drop", str(second))
        assert (status, out) == (0, f"message {second} to scout is dropped\n")
        assert (await broker.ask("status"))["dead"] == 0
        status, _, err = await hive(tmp_path, "dead", "retry", str(second))
        assert status == 1
        assert f"message {second} is not dead" in err
        status, _, err = await hive(tmp_path, "dead", "retry")
        assert status == 64
        assert "hive dead retry ID" in err


@asynccontextmanager
async def session(root: Path):
    command, *arguments = (*HIVE, "mcp", "--root", str(root))
    server = StdioServerParameters(command=command, args=arguments)
    with (root / "mcp.err").open("w") as errors:
        async with (
            stdio_client(server, errlog=errors) as (reads, writes),
            ClientSession(reads, writes) as client,
        ):
            await client.initialize()
            yield client


CONSENTS = {
    "approve", "deny", "withdraw", "answer", "merge", "accept", "spawn", "power", "retire",
    "revert", "rollback", "revive", "pause", "unpause", "command", "interrupt", "shutdown",
    "suspend", "resume", "reconcile", "dead.retry", "dead.drop", "undamp", "registry.set", "system",
}  # fmt: skip


async def test_a_model_reads_and_writes_and_consents_to_nothing(tmp_path):
    async with rig(tmp_path) as broker:
        await broker.registry(agent(A, "scout"))
        async with session(tmp_path) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {
                "status", "proposals", "proposal", "logs", "messages", "questions", "dead",
                "search", "send",
            }  # fmt: skip
            assert [n for n, t in tools.items() if not t.annotations.read_only_hint] == ["send"]
            sent = await client.call_tool("send", {"to": "scout", "body": "look there"})
            assert not sent.is_error
            found = await client.call_tool("messages", {"peer": "scout"})
            [message] = json.loads(found.content[0].text)["messages"]
            assert message["body"] == "look there"
            assert message["data"]["by"].endswith(" by hive mcp")
            found = await client.call_tool("search", {"query": "look"})
            assert len(json.loads(found.content[0].text)["events"]) == 1
            for name in sorted(CONSENTS):
                refused = await client.call_tool(name, {"n": 1, "id": 1, "by": "ann"})
                assert refused.is_error, name
                assert "there is no tool" in refused.content[0].text
            wrong = await client.call_tool("send", {"to": "scot", "body": "x"})
            assert wrong.is_error
            assert "did you mean scout" in wrong.content[0].text
            away = await client.call_tool("status", {})  # no reconciler runs here
            assert away.is_error
            assert "hive up" in away.content[0].text


HOST = {
    "root": "/r", "runtime": "nspawn", "applied": "0" * 40, "at": 1.0, "stale": None,
    "suspended": None, "agents": [],
}  # fmt: skip


async def test_status_says_what_is_wrong_with_the_broker(tmp_path):
    async with rig(tmp_path) as broker:
        await broker.registry(agent(A, "scout"))
        server = await listen(
            broker.layout.host_sock, lambda: Peer({"status": lambda *_: dict(HOST)})
        )
        status, out, _ = await hive(tmp_path, "status")
        assert (status, "!!" in out) == (0, False)
        await broker.kill()
        assert "!! BrokerAway: the broker does not run here" in (await hive(tmp_path, "status"))[1]
        high = HighWater(broker.layout.broker / "highwater")
        high.raise_to(Marks(99, 1))
        high.close()
        await broker.start()
        out = (await hive(tmp_path, "status"))[1]
        assert "!! MessagesLost: 99 messages that were stored before this start are gone" in out
        found = json.loads((await hive(tmp_path, "status", "--json"))[1])["messages"]
        assert [c["type"] for c in found["conditions"]] == ["MessagesLost"]
        assert (found["open"], found["dead"]) == (0, 0)
        server.close()
