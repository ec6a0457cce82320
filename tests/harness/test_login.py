"""An agent with a network logs in: the URL comes out, the code goes in, nothing is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.claude_harness import both_versions, claude_rig
from support.fake_broker import FakeBroker
from support.harness_process import HarnessProcess

from hive_harness.agentfile import Agent
from hive_harness.engine.launch import launch
from hive_harness.settings import parse
from hive_wire.rpc_errors import RpcError

CODE = "the-secret-code#and-its-state"
ENGINE = f"""#!{sys.executable}
import os, sys
assert sys.argv[1:] == ["auth", "login"] and not any(k.startswith("ANTHROPIC") for k in os.environ)
print("Opening browser…\\nvisit: https://claude.ai/oauth/authorize?code=true\\n", flush=True)
print("Paste code here if prompted > ", end="", flush=True)
code = sys.stdin.readline().strip()
if not code.startswith("the-secret"):
    sys.exit(f"Login failed: no such code {{code}}")
open(os.environ["CLAUDE_CONFIG_DIR"] + "/.credentials.json", "w").write("{{}}")
"""


def kept(root: Path) -> bytes:
    """All that lies in files, but for the stand-in itself."""
    files = [p for p in root.rglob("*") if p.is_file() and p.name != "engine"]
    return b"".join(path.read_bytes() for path in files)


async def test_the_whole_way(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.write_text(ENGINE)
    engine.chmod(0o755)
    harness = HarnessProcess(tmp_path, engine_path=engine)
    harness.agent(engine="claude", network="private")
    async with FakeBroker(harness.run) as broker, harness:
        await broker.until(lambda: broker.hellos)
        with pytest.raises(RpcError, match="no login is under way"):
            await broker.call("login", step="code", code=CODE)
        first = await broker.call("login", step="start")
        assert first == {"url": "https://claude.ai/oauth/authorize?code=true"}
        with pytest.raises(RpcError, match="no spaces"):
            await broker.call("login", step="code", code="two\nlines")
        with pytest.raises(RpcError) as error:
            await broker.call("login", step="code", code="a-wrong-one")
        assert error.value.message == "the login failed: Login failed: no such code …"
        await broker.call("login", step="start")
        await broker.call("login", step="cancel")
        await broker.call("login", step="start")
        assert "logged in" in (await broker.call("login", step="code", code=CODE))["text"]
        assert (harness.config / ".credentials.json").exists()
        assert CODE not in str(broker.rows) + str(broker.states)
    assert CODE.encode() not in kept(tmp_path)
    assert b"oauth" not in kept(tmp_path)


@pytest.mark.parametrize("agent", [{"network": "none"}, {"network": "host", "engine": "rehearsal"}])
async def test_who_cannot_log_in(tmp_path: Path, agent: dict[str, str]) -> None:
    harness = HarnessProcess(tmp_path)
    harness.agent(**agent)
    async with FakeBroker(harness.run) as broker, harness:
        await broker.until(lambda: broker.hellos)
        with pytest.raises(RpcError, match="only an agent with a network"):
            await broker.call("login", step="start")


@both_versions
@pytest.mark.cli
@pytest.mark.timeout(120)
async def test_the_real_cli_names_a_login_page_and_takes_a_code(tmp_path: Path, cli: Path) -> None:
    async with claude_rig(tmp_path, cli, network="private") as rig, rig.harness:
        await rig.broker.until(lambda: rig.broker.hellos)
        url = (await rig.broker.call("login", step="start"))["url"]
        assert url.startswith(("https://claude.ai/", "https://claude.com/"))
        with pytest.raises(RpcError, match="the login failed") as error:
            await rig.broker.call("login", step="code", code=CODE)
        assert CODE not in error.value.message
    assert CODE.encode() not in kept(tmp_path)


@pytest.mark.parametrize(
    ("network", "logged_in", "through_gateway"),
    [("none", True, True), ("private", False, True), ("private", True, False)],
)
def test_whose_credential_the_engine_uses(
    tmp_path: Path, network: str, logged_in: bool, through_gateway: bool
) -> None:
    settings = parse(["--claude-config", str(tmp_path)])
    if logged_in:
        (tmp_path / ".credentials.json").write_text("{}")
    who = Agent("a" * 12, "scout", "agent", "claude", "m", "", "", (), network=network)
    names = dict(launch(who, settings).env)
    assert ("ANTHROPIC_UNIX_SOCKET" in names) == through_gateway
    assert ("ANTHROPIC_API_KEY" in names) == through_gateway
