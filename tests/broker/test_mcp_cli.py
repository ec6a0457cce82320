"""mcp.sock as any MCP client finds it: the real Claude Code CLI, over stdio through socat."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from support.broker_rig import agent, rig
from support.claude_cli import NoCli, claude_cli
from support.fake_messages_api import Call, FakeApi, Step
from support.needs import lacking, need

pytestmark = [pytest.mark.cli, pytest.mark.timeout(120)]

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


@pytest.fixture
def cli() -> Path:
    need("socat")
    try:
        return claude_cli()
    except NoCli as error:
        lacking(str(error))


async def ask_claude(cli: Path, socket: Path, url: str, home: Path) -> tuple[int, str]:
    """One prompt, with the agent's socket as a stdio server of that name."""
    server = {"command": "socat", "args": ["-t30", "STDIO", f"UNIX-CONNECT:{socket}"]}
    process = await asyncio.create_subprocess_exec(
        str(cli), "-p", "greet cook", "--model", "claude-sonnet-5",
        "--strict-mcp-config", "--mcp-config", json.dumps({"mcpServers": {"hive": server}}),
        "--setting-sources", "", "--allowedTools", "mcp__hive", "--output-format", "json",
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home),
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "ENABLE_TOOL_SEARCH": "false",
        },
        cwd=home,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_the_cli_calls_our_tools_through_socat(tmp_path, cli):
    home = tmp_path / "home"
    home.mkdir()
    async with rig(tmp_path / "root") as hive, FakeApi() as api:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        cook = await hive.harness(B)
        api.script(
            Step(
                calls=(
                    Call("mcp__hive__send", {"to": "cook", "body": "hello"}),
                    Call("mcp__hive__send", {"to": "coook", "body": "hello"}),
                )
            ),
            Step(text="greeted"),
        )
        socket = hive.layout.agent_run(A) / "mcp.sock"
        status, out = await ask_claude(cli, socket, await api.serve_tcp(), home)
        assert status == 0, out
        assert json.loads(out)["result"] == "greeted"
        message = (await cook.granted())["message"]
        assert (message["sender"], message["body"]) == ("scout", "hello")
        offered = {t for request in api.requests for t in request.tools if "mcp__hive" in t}
        assert offered == {
            f"mcp__hive__{name}"
            for name in (
                *("send", "recv", "ask_operator", "withdraw_question", "remind"),
                "cancel_reminder",
            )
        }
        assert "did you mean cook" in api.requests[-1].everything
