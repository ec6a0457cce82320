"""hive-wake: a line of any program becomes a message, from inside a real container, too."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys

import pytest
from support.broker_rig import agent, rig, until
from support.harness_process import HarnessProcess
from support.swarm import swarm

from hive_wire.rpc_errors import RpcError
from hive_wire.sockets import connect

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
RUNTIMES = [
    pytest.param("nspawn", marks=[pytest.mark.root]),
    pytest.param(
        "process",
        marks=pytest.mark.skipif(
            os.geteuid() == 0 or shutil.which("bwrap") is None,
            reason="the process runtime is for people without root, with bubblewrap",
        ),
    ),
]


async def wake(hive, *words: str, lines: str = "") -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hive_harness.wakeup", "--run", str(hive.layout.agent_run(A))),
        *words,
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate(lines.encode())
    assert process.returncode is not None
    return process.returncode, err.decode()


async def test_words_and_lines_become_messages(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout = await hive.harness(A)
        assert await wake(hive, "the build", "is done") == (0, "")
        grant = await scout.granted()
        message = grant["message"]
        assert (message["sender"], message["to"], message["kind"]) == ("scout", "scout", "wake")
        assert message["body"] == "the build is done"
        await scout.end(grant["turn"])
        assert await wake(hive, lines="one\n\n  two \n\xff three") == (0, "")
        for body in ("one", "two", "\xff three"):
            grant = await scout.granted()
            assert grant["message"]["body"] == body
            await scout.end(grant["turn"])
        status, err = await wake(hive, lines="x" * 270_000 + "\nshort")
        assert status == 1
        assert "262144 are the most" in err
        assert (await scout.granted())["message"]["body"] == "short"
        assert (await hive.status(B))["queued"] == 0


async def test_it_waits_for_a_broker_that_is_away_and_says_it_once(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        await hive.kill()
        waking = asyncio.create_task(wake(hive, "hello"))
        await hive.start()
        assert await waking == (0, "")
        path = hive.layout.agent_run(A) / "harness.sock"
        peer = await connect(path)
        ids = {
            (await peer.request("wake", {"body": "again", "key": "k"}, timeout=10))["id"]
            for _ in range(3)
        }
        assert len(ids) == 1
        with pytest.raises(RpcError, match="the body is empty"):
            await peer.request("wake", {"body": " ", "key": "k2"}, timeout=10)
        with pytest.raises(RpcError, match="uid: is no key here"):
            await peer.request("wake", {"body": "x", "key": "k3", "uid": B}, timeout=10)
        peer.close()
        assert (await hive.status(A))["queued"] == 2


RULE = """
[[rule]]
name = "ring"
kind = "text"
  [[rule.step]]
  run = "echo from a program | hive-wake"
[[rule]]
name = "anything else"
  [[rule.step]]
  say = "heard"
"""


async def test_the_harness_puts_it_on_the_path(tmp_path):
    async with rig(tmp_path / "root") as hive:
        await hive.registry(agent(A, "scout"))
        scout = HarnessProcess(tmp_path / "scout")
        scout.run = hive.layout.agent_run(A)
        scout.agent(uid=A, name="scout")
        scout.script(RULE)
        await scout.start()
        try:
            await hive.ask("send", to="scout", body="ring", by="ann")

            async def woken() -> list[dict]:
                found = (await hive.ask("messages", limit=9))["messages"]
                return [m for m in found if m["kind"] == "wake"]

            [message] = await until(woken, "the message")
            assert message["body"] == "from a program"
        finally:
            await scout.stop()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_it_is_there_in_a_container(tmp_path, runtime):
    async with swarm(tmp_path / "root", "--rehearse", "--runtime", runtime) as hive:
        await hive.ready("hm1nd")
        (hive.layout.rehearsal / "hm1nd.toml").write_text(RULE)
        await hive.cli("send", "hm1nd", "ring")
        found = await hive.message("hm1nd", "hm1nd", "from a program")
        assert found["kind"] == "wake"
