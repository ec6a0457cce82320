"""What one agent can do to the broker by speaking much, fast, or without listening."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.broker_rig import Harness, Rig, ToolFailed, Tools, agent, rig, until

from hive_broker.core.limits import LONGEST_REST, MOST_WAITING, WORDS, WORDS_PER_SECOND, Pace
from hive_broker.front import toolbox
from hive_broker.server import serving
from hive_wire.paths import Layout
from hive_wire.rpc_errors import INVALID_PARAMS, RpcError
from hive_wire.sockets import connect

pytestmark = pytest.mark.slow
A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    },
}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}


@given(st.lists(st.tuples(st.integers(0, 20_000), st.floats(0, 100)), max_size=30))
def test_a_pace_is_kept_and_no_rest_is_longer_than_a_minute(steps):
    now = spent = 0.0
    pace = Pace(now)
    for words, passed in steps:
        now += passed
        rest = pace.spend(words, now)
        assert 0 <= rest <= LONGEST_REST
        now += rest
        spent += words
        # A single burst may be more than what a rest pays for; nothing else is.
        owed = sum(max(0, words - LONGEST_REST * WORDS_PER_SECOND) for words, _ in steps)
        assert spent <= WORDS + now * WORDS_PER_SECOND + owed + 1


def open_files(hive: Rig) -> int:
    assert hive.process is not None
    return len(os.listdir(f"/proc/{hive.process.pid}/fd"))


def stuff(sockets: contextlib.ExitStack, path, data: bytes) -> socket.socket:
    """A connection that says as much of `data` as goes in at once, and reads nothing."""
    sock = sockets.enter_context(socket.socket(socket.AF_UNIX))
    sock.connect(str(path))
    sock.setblocking(False)
    with contextlib.suppress(OSError):
        while data:
            data = data[sock.send(data) :]
    return sock


async def test_who_does_not_read_on_harness_sock_holds_no_more_than_its_connections(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "other"))
        path = hive.layout.agent_run(A) / "harness.sock"
        before = open_files(hive)
        nonsense = b'{"id":1,"method":"%s"}\n' % (b"x" * 80) * 4000  # answers: over 400 KB
        with contextlib.ExitStack() as sockets:
            for _ in range(60):
                stuff(sockets, path, nonsense)
                await hive.ask("status")  # the broker has read it by now
            await until(lambda: open_files(hive) <= before + 20, "closed")
            await hive.harness(B)


@pytest.mark.timeout(120)
async def test_who_does_not_read_on_mcp_sock_holds_no_connection_for_long(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        path = hive.layout.agent_run(A) / "mcp.sock"
        await hive.tools(A)
        before = open_files(hive)
        lines = [json.dumps(INITIALIZE), *[json.dumps(LIST)] * 120]
        with contextlib.ExitStack() as sockets:
            for _ in range(10):
                said = "\n".join([*lines, ""]).encode()
                stuff(sockets, path, said).shutdown(socket.SHUT_WR)
            await until(lambda: open_files(hive) > before, "taken")
            # Nobody reads, nobody closes: they are ended all the same.
            await until(lambda: open_files(hive) <= before, "given back", timeout=60)
        assert "Traceback" not in hive.log()


async def test_a_client_that_leaves_while_it_is_answered_leaves_no_trace(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        path = hive.layout.agent_run(A) / "mcp.sock"
        await hive.tools(A)
        lines = [json.dumps(INITIALIZE), *[json.dumps(LIST)] * 120]
        before = open_files(hive)
        with contextlib.ExitStack() as sockets:
            for _ in range(5):
                sock = stuff(sockets, path, "\n".join([*lines, ""]).encode())
                await until(lambda sock=sock: select.select([sock], [], [], 0)[0], "answered")
                sock.close()
        await until(lambda: open_files(hive) <= before, "closed")
        await (await hive.tools(A)).ask("tools/list")
        assert "Traceback" not in hive.log()


async def test_a_flood_is_read_slowly_and_nobody_else_waits(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "other"))
        _, writer = await asyncio.open_unix_connection(hive.layout.agent_run(A) / "harness.sock")
        said = 0

        async def flood() -> None:
            nonlocal said
            while True:
                writer.write(b'{"method":"nonsense"}\n' * 1000)
                await writer.drain()
                said += 1000

        flooding = asyncio.create_task(flood())
        await until(lambda: said > WORDS, "said more than is read at once")

        async def stands_still() -> bool:
            before = said
            await asyncio.sleep(0.2)
            return said == before

        await until(stands_still, "the flood is stopped")
        assert said < 3 * WORDS
        other = await hive.tools(B)
        await other.call("send", to="scout", body="hello")
        flooding.cancel()
        writer.transport.abort()


async def test_an_agent_that_changes_its_state_without_end_leaves_the_disk_to_others(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "other"))
        _, writer = await asyncio.open_unix_connection(hive.layout.agent_run(A) / "harness.sock")
        hello = {"method": "hello", "params": {"boot": "0" * 36, "version": "x"}}
        writer.write(json.dumps(hello).encode() + b"\n")
        await until(lambda: hive.events("ready"), "greeted")

        def said(state: str) -> bytes:
            return json.dumps({"method": "state", "params": {"state": state}}).encode() + b"\n"

        async def flood() -> None:
            for _ in range(int(WORDS) // 2000 - 1):
                writer.write((said("idle") + said("failed")) * 1000)
                await writer.drain()
            writer.write(said("waiting"))

        flooding = asyncio.create_task(flood())
        while not flooding.done() or (await hive.status(A))["state"] != "waiting":
            await hive.ask("send", to="other", body="x", by="ann")

        async def told() -> bool:
            last = (await hive.ask("events", kinds=["state"], uid=A, limit=1))["events"]
            return last[0]["data"]["state"] == (await hive.status(A))["state"] == "waiting"

        await until(told, "the last state is in the history")
        writer.transport.abort()


async def test_an_agent_fills_its_own_inbox_no_further_than_others_can(tmp_path, monkeypatch):
    """With questions that expire and reminders that ring."""
    layout = Layout.of(tmp_path)
    layout.agent_run(A).mkdir(parents=True)
    async with serving(layout) as app:
        host = await connect(layout.broker_sock)
        await host.request("registry.set", {"agents": [agent(A, "scout")]})
        tools = await Tools.open(layout.agent_run(A) / "mcp.sock")
        monkeypatch.setattr(type(app.broker.agent(A).mailbox), "size", MOST_WAITING)
        for tool, arguments in (
            ("ask_operator", {"question": "x", "ttl_seconds": 1}),
            ("remind", {"body": "x", "at": "1s"}),
        ):
            with pytest.raises(ToolFailed, match="10000 messages wait for scout already"):
                await tools.call(tool, **arguments)
        tools.close()
        host.close()


async def test_a_turn_without_end_is_not_remembered_call_by_call_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(toolbox, "MOST_KEPT", 3)
    layout = Layout.of(tmp_path)
    layout.agent_run(A).mkdir(parents=True)
    async with serving(layout):
        host = await connect(layout.broker_sock)
        await host.request("registry.set", {"agents": [agent(A, "scout")]})
        scout = Harness(layout.agent_run(A) / "harness.sock")
        await scout.hello()
        tools = await Tools.open(layout.agent_run(A) / "mcp.sock")
        await host.request("send", {"to": "scout", "body": "x", "by": "ann"})
        turn = (await scout.granted())["turn"]
        sent = [await tools.call("send", f"{turn}:{n}", to="operator", body="x") for n in range(3)]
        with pytest.raises(ToolFailed, match="end the turn"):
            await tools.call("send", f"{turn}:3", to="operator", body="x")
        assert await tools.call("send", f"{turn}:2", to="operator", body="x") == sent[2]
        await scout.end(turn)
        await host.request("send", {"to": "scout", "body": "x", "by": "ann"})
        turn = (await scout.granted())["turn"]
        await tools.call("send", f"{turn}:1", to="operator", body="x")
        for client in (tools, scout, host):
            client.close()


async def test_what_an_agent_sends_wrongly_is_not_written_into_the_log(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        tools = await hive.tools(A)
        before = len(hive.log())
        long = "x" * 500_000
        for method in (f"notifications/{long}", "notifications/cancelled"):
            bad = {"jsonrpc": "2.0", "method": method, "params": {"requestId": [long]}}
            tools.writer.write(json.dumps(bad).encode() + b"\n")
        with contextlib.ExitStack() as sockets:
            for _ in range(40):
                stuff(sockets, hive.layout.agent_run(A) / "mcp.sock", b"")
            await tools.ask("tools/list")
        assert len(hive.log()) - before < 500


async def test_values_that_no_table_or_calendar_holds_are_refused_in_words(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "other"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        await hive.ask("send", to="scout", body="go", by="ann")
        turn = (await scout.granted())["turn"]
        large = (1 << 63) + 1
        for tool, arguments in (
            ("send", {"to": "other", "body": "x", "in_reply_to": large}),
            ("withdraw_question", {"id": 10**30}),
            ("cancel_reminder", {"id": large}),
            ("ask_operator", {"question": " \n"}),
            ("ask_operator", {"question": "Which?", "options": ["a", "a"]}),
            ("ask_operator", {"question": "Which?", "options": ["a", " "]}),
        ):
            with pytest.raises(ToolFailed) as failed:
                await tools.call(tool, **arguments)
            assert "inside" not in str(failed.value)
        row = {"n": 1, "kind": "text", "data": {}, "at": 1.0}
        for method, params in (
            ("stream", {"rows": [row | {"n": large}]}),
            ("stream", {"rows": [row | {"at": 1e308}]}),
            ("state", {"state": "idle", "until": 1e308}),
            ("turn.end", {"turn": turn, "outcome": "ok", "usage": {"input_tokens": large}}),
            ("turn.end", {"turn": turn, "outcome": "ok", "duration_ms": large}),
            ("turn.end", {"turn": turn, "outcome": "failed", "cost_usd": 1e308}),
            ("turn.end", {"turn": turn, "outcome": "failed", "retry_at": 1e300}),
            ("turn.end", {"turn": turn, "outcome": "ok", "session": "x" * 1000}),
        ):
            with pytest.raises(RpcError) as refused:
                await scout.ask(method, **params)
            assert refused.value.code == INVALID_PARAMS, (method, params)
        await scout.end(turn)
        assert "Traceback" not in hive.log()


async def test_what_is_nested_too_deeply_is_left_out_and_its_neighbours_are_kept(tmp_path):
    deep: dict = {}
    for _ in range(400):
        deep = {"a": deep}
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        rows = [
            {"n": n, "kind": "text", "data": data, "at": 1.0}
            for n, data in ((1, {"text": "one"}), (2, deep), (3, {"text": "three"}))
        ]
        assert await scout.ask("stream", rows=rows) == {"acked": 3}
        kept = [event["data"] for event in await hive.events("text")]
        assert kept == [{"text": "one"}, {"cut": None}, {"text": "three"}]
        assert "Traceback" not in hive.log()


async def test_questions_and_reminders_count_as_messages_do(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        clients = [await hive.tools(A) for _ in range(8)]

        async def ask_without_end(tools: Tools) -> None:
            """No number is enough where a machine is slow: the allowance fills up meanwhile."""
            while True:
                asked = await tools.call("ask_operator", question="x" * 8000)
                await tools.call("withdraw_question", id=asked["id"])

        ends = await asyncio.gather(*map(ask_without_end, clients), return_exceptions=True)
        assert {type(end) for end in ends} == {ToolFailed}
        assert all("you send too much: wait" in str(end) for end in ends)
