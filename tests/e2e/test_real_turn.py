"""One whole turn of the real Claude Code CLI, in a container without a network."""

from __future__ import annotations

import time

import pytest
from support.claude_cli import claude_cli
from support.fake_messages_api import Call, FakeApi, Step
from support.swarm import swarm

pytestmark = [pytest.mark.root, pytest.mark.cli, pytest.mark.slow, pytest.mark.timeout(240)]


async def test_message_turn_send_reply(tmp_path):
    root = tmp_path / "root"
    async with FakeApi() as api:
        environment = {
            "HIVE_CLAUDE": str(claude_cli()),
            "ANTHROPIC_BASE_URL": await api.serve_tcp(),
            "ANTHROPIC_API_KEY": "sk-ant-dummy-of-the-operator",
        }
        api.script(
            Step(calls=(Call("mcp__hive__send", {"to": "operator", "body": "four"}),)),
            Step(text="I answered."),
        )
        async with swarm(root, "--runtime", "nspawn", env=environment) as hive:
            await hive.ready("hm1nd")
            await hive.cli("send", "hm1nd", "how many are two and two?")
            reply = await hive.message("hm1nd", "operator", "four", timeout=60)
            first = await api.request(1)
            assert "how many are two and two?" in first.last
            assert first.headers["x-api-key"] == "sk-ant-dummy-of-the-operator"
            assert reply["in_reply_to"] is None or reply["in_reply_to"] >= 1

            async def ended():
                events = (await hive.broker("events", kinds=["turn.ended"], limit=10))["events"]
                return events or None

            (turn,) = await hive.until("the turn's end", ended)
            assert turn["data"]["outcome"] == "ok"
            agents = (await hive.broker("agents"))["agents"]
            assert [a["queued"] for a in agents] == [0]

            inside = hive.layout.agent(agents[0]["uid"])
            secret = b"sk-ant-dummy-of-the-operator"
            assert not any(
                secret in path.read_bytes() for path in inside.rglob("*") if path.is_file()
            )
            assert await hive.stop() == 0


async def test_a_limit_of_the_account_is_waited_for(tmp_path):
    """The engine is not told when it ends, the gateway is."""
    root, reset = tmp_path / "root", int(time.time()) + 5000
    headers = {"anthropic-ratelimit-unified-reset": str(reset), "retry-after": "5000"}
    async with FakeApi(Step(status=429, headers=headers)) as api:
        environment = {
            "HIVE_CLAUDE": str(claude_cli()),
            "ANTHROPIC_BASE_URL": await api.serve_tcp(),
            "ANTHROPIC_API_KEY": "sk-ant-dummy",
        }
        async with swarm(root, "--runtime", "nspawn", env=environment) as hive:
            await hive.ready("hm1nd")
            await hive.cli("send", "hm1nd", "how many are two and two?")

            async def limited():
                (agent,) = (await hive.broker("agents"))["agents"]
                return agent if agent["state"] == "rate-limited" and agent["until"] else None

            agent = await hive.until("it is rate-limited", limited)
            assert abs(agent["until"] - reset) < 2
            assert (agent["queued"], agent["turn"]) == (1, None)
            assert len(api.requests) == 1
            assert await hive.stop() == 0
