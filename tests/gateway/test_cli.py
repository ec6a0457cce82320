"""The real CLI through the gateway: what it makes of the gateway's own errors."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.claude_cli import NoCli, claude_cli
from support.fake_messages_api import FakeApi, Step
from support.gateway_rig import KEY, SCOUT, Hive, UsageBroker, until
from support.needs import lacking

pytestmark = pytest.mark.cli


@pytest.fixture(scope="module")
def cli() -> Path:
    try:
        return claude_cli()
    except NoCli as error:
        lacking(str(error))


async def turn(cli: Path, hive: Hive, home: Path, **environ: str) -> list[dict[str, Any]]:
    """The events of one turn."""
    home.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *(str(cli), "-p", "--output-format", "stream-json", "--verbose", "--tools", ""),
        *("--strict-mcp-config", "--setting-sources", "", "--model", "claude-sonnet-5"),
        cwd=home,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "ANTHROPIC_UNIX_SOCKET": str(hive.layout.agent_run(SCOUT) / "model/model.sock"),
            "ANTHROPIC_BASE_URL": "http://model.invalid",
            "ANTHROPIC_API_KEY": "dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            **environ,
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(50):
            output, _ = await process.communicate(b"hello")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return [json.loads(line) for line in output.splitlines()]


async def test_a_turn_with_our_key_and_its_usage(hive: Hive, cli: Path, tmp_path: Path) -> None:
    async with FakeApi() as api, UsageBroker(hive.layout.broker_sock) as broker:
        api.script(Step(text="hi there", usage={"output_tokens": 42}))
        hive.toml(f'url = "{await api.serve_tcp()}"\n')
        hive.key(KEY)
        hive.directory(SCOUT)
        async with hive.gateway():
            await hive.set_agents(SCOUT)
            result = (await turn(cli, hive, tmp_path / "home"))[-1]
            await until(lambda: broker.total(SCOUT, "output_tokens") == 42)
    assert (result["is_error"], result["result"]) == (False, "hi there")
    headers = {name.lower(): value for name, value in api.requests[0].headers.items()}
    assert headers["x-api-key"] == KEY


async def test_without_a_credential_the_turn_fails_at_once_and_says_why(
    hive: Hive, cli: Path, tmp_path: Path
) -> None:
    hive.directory(SCOUT)
    async with hive.gateway():
        await hive.set_agents(SCOUT)
        events = await turn(cli, hive, tmp_path / "home")
    assert events[-1]["is_error"] is True
    assert events[-1]["api_error_status"] == 401
    assert "keys/anthropic-api-key" in events[-1]["result"]
    assert not [e for e in events if e.get("subtype") == "api_retry"]


async def test_an_unreachable_api_is_retried_until_it_is_back(
    hive: Hive, cli: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hive.toml('url = "http://127.0.0.1:9"\n')
    hive.key(KEY)
    hive.directory(SCOUT)
    async with FakeApi() as api, hive.gateway():
        await hive.set_agents(SCOUT)
        url = await api.serve_tcp()
        asking = asyncio.create_task(turn(cli, hive, tmp_path / "home"))
        await until(lambda: "is unreachable" in caplog.text)
        hive.toml(f'url = "{url}"\n')
        events = await asking
    assert events[-1]["is_error"] is False
    retries = [e for e in events if e.get("subtype") == "api_retry"]
    assert {e["error_status"] for e in retries} == {502}
