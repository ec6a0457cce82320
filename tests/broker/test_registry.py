"""Agents come, go, come back; a re-used name inherits nothing; sockets follow."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3

import pytest
from support.broker_rig import ToolFailed, agent, rig

from hive_wire.rpc_errors import RpcError

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


async def test_a_reused_name_inherits_nothing(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        tools = await hive.tools(A)
        await tools.call("ask_operator", question="Still?")
        await hive.ask("send", to="scout", body="for the first", by="ann")
        await hive.registry(agent(B, "scout"))
        second = await hive.harness(B)
        assert (await hive.status(B))["queued"] == 0
        await hive.ask("send", to="scout", body="for the second", by="ann")
        assert (await second.granted())["message"]["body"] == "for the second"
        [question] = (await hive.ask("questions", open=False))["questions"]
        assert (question["state"], question["uid"]) == ("withdrawn", A)
        assert not (hive.layout.agent_run(A) / "harness.sock").exists()
        assert hive.layout.agent_run(A).is_dir()
        # The first one comes back under another name, with its mail.
        await hive.registry(agent(A, "ranger"), agent(B, "scout"))
        first = await hive.harness(A)
        assert (await first.granted())["message"]["body"] == "for the first"


async def test_what_changed_is_told_alone_and_a_large_registry_in_parts(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        hive.layout.agent_run(B).mkdir()
        await hive.ask("registry.change", agents=[agent(B, "ranger")], gone=[])
        assert [a["name"] for a in (await hive.ask("agents"))["agents"]] == ["scout", "ranger"]
        known = (await hive.ask("agents", uids=[B, "c" * 12]))["agents"]
        assert [status["uid"] for status in known] == [B]
        await hive.ask("registry.change", agents=[agent(B, "scout")], gone=[A])
        assert [a["name"] for a in (await hive.ask("agents"))["agents"]] == ["scout"]
        with pytest.raises(RpcError, match="two agents have the name"):
            await hive.ask("registry.change", agents=[agent(A, "scout")], gone=[])
        await hive.ask("registry.set", agents=[agent(A, "ranger")], part=0, parts=2)
        assert [a["uid"] for a in (await hive.ask("agents"))["agents"]] == [B]
        await hive.ask("registry.set", agents=[agent(B, "scout")], part=1, parts=2)
        assert {a["uid"] for a in (await hive.ask("agents"))["agents"]} == {A, B}


async def test_retiring_closes_the_sockets(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout, tools = await hive.harness(A), await hive.tools(A)
        await hive.registry()
        async with asyncio.timeout(10):
            await scout.peer.gone()
            assert await tools.reader.read() == b""
        assert (await hive.ask("agents"))["agents"] == []
        with pytest.raises(RpcError, match="there are: none yet"):
            await hive.ask("send", to="scout", body="x", by="ann")
        assert (await hive.ask("hold", uid=A, token="t", ttl=5)) == {
            "running": None, "known": False,
        }  # fmt: skip
        for method in ("release", "fence"):
            await hive.ask(method, uid=A, token="t")
        await hive.ask("unfence", uid=A)


async def test_sockets_are_bound_when_their_directory_appears(tmp_path):
    async with rig(tmp_path) as hive:
        one = agent(A, "scout")
        await hive.registry(one, directories=False)
        assert not hive.layout.agent_run(A).exists()
        await hive.ask("send", to="scout", body="waits", by="ann")
        await hive.registry(one)
        scout = await hive.harness(A)
        assert (await scout.granted())["message"]["body"] == "waits"
        shutil.rmtree(hive.layout.agent_run(A))
        await hive.registry(one)  # the directory is another one now
        scout = await hive.harness(A)
        mode = (hive.layout.agent_run(A) / "harness.sock").stat().st_mode & 0o777
        assert mode == 0o666


async def test_the_registry_is_served_without_the_reconciler(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout", may_send_to=["operator"]), agent(B, "cook"))
        await hive.kill()
        await hive.start()
        scout = await hive.harness(A)
        assert scout.welcome["name"] == "scout"
        tools = await hive.tools(A)
        with pytest.raises(ToolFailed, match="may write to: operator"):
            await tools.call("send", to="cook", body="x")


async def test_two_of_one_name_or_uid_are_refused(tmp_path):
    async with rig(tmp_path) as hive:
        with pytest.raises(RpcError, match="name 'scout'"):
            await hive.registry(agent(A, "scout"), agent(B, "scout"))
        with pytest.raises(RpcError, match="uid"):
            await hive.registry(agent(A, "scout"), agent(A, "cook"))
        with pytest.raises(RpcError, match="uid"):
            await hive.ask("registry.set", agents=[agent("../../etc", "x")])
        assert (await hive.ask("agents"))["agents"] == []


async def test_roles_change_what_tools_there_are(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        tools = await hive.tools(A)

        async def names() -> set[str]:
            return {t["name"] for t in (await tools.ask("tools/list"))["tools"]}

        assert "request_spawn" not in await names()
        await hive.registry(agent(A, "scout", role="manager"))
        assert "request_spawn" in await names()


async def test_dead_letters_of_a_retired_agent_wait_for_nobody(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="x", by="ann")
        for _ in range(5):
            turn = (await scout.granted())["turn"]
            await scout.end(turn, "failed", counted=True, cause="refused")
        assert len((await hive.ask("dead"))["dead"]) == 1
        await hive.registry()
        assert (await hive.ask("dead"))["dead"] == []
        assert (await hive.ask("dead"))["total"] == 0
        assert [e["agent"] for e in await hive.events("retired")] == [A]
        await hive.registry(agent(A, "scout"))
        assert len((await hive.ask("dead"))["dead"]) == 1
        await hive.ask("dead.drop", id=1, agent="scout", by="ann")


async def test_questions_of_an_agent_that_was_retired_as_the_broker_died_are_withdrawn(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        await (await hive.tools(A)).call("ask_operator", question="Left or right?")
        await hive.kill()
        with contextlib.closing(sqlite3.connect(hive.layout.broker / "broker.db")) as db:
            db.execute("update agent set retired=1 where uid=?", (A,))  # that far it came
            db.commit()
        await hive.start()
        await hive.registry(agent(B, "cook"))
        assert (await hive.ask("questions"))["questions"] == []
