"""hive answer for a permission, and hive login-agent, against a real broker."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from support.broker_rig import agent, rig, until

from hive_wire.jsonrpc import Peer
from hive_wire.rpc_errors import REFUSED, RpcError
from hive_wire.sockets import listen

pytestmark = pytest.mark.slow

A = "aaaaaaaaaaaa"
HIVE = (sys.executable, "-m", "hive_reconciler.app.cli")


async def hive(root: Path, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *HIVE, *arguments, "--root", str(root),
        stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True,
    )  # fmt: skip
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("refused", [False, True])
async def test_always_proposes_the_rule_and_then_answers(tmp_path, refused):
    asked: list[dict[str, Any]] = []

    def allow(_: Peer, params: dict[str, Any]) -> dict[str, Any]:
        asked.append(params)
        if refused:
            raise RpcError(REFUSED, "the swarm is frozen")
        return {"proposal": 7, "state": "open", "message": "proposal 7 is open"}

    async with rig(tmp_path) as broker:
        server = await listen(broker.layout.host_sock, lambda: Peer({"allow": allow}))
        await broker.registry(agent(A, "scout"))
        scout = await broker.harness(A)
        await broker.ask("send", to="scout", body="go", by="ann")
        turn = (await scout.granted())["turn"]
        ask = {"tool": "Bash", "input": {"command": "make \x1b[2Jdeploy"}, "ttl": 99}
        loose = asyncio.create_task(scout.ask("permission", key="k0", turn=turn, **ask))
        ask["input"] = {"command": "make deploy"}
        asking = asyncio.create_task(scout.ask("permission", key="k1", turn=turn, **ask))

        async def both():
            return len((await broker.ask("questions"))["questions"]) == 2

        await until(both, "two questions")
        status, out, _ = await hive(tmp_path, "questions")
        assert status == 0
        assert "May scout use Bash?" in out
        assert '"command": "make deploy"' in out
        assert "[3] always" in out
        assert "\x1b" not in out
        ident = next(
            str(q["id"])
            for q in (await broker.ask("questions"))["questions"]
            if q["permission"]["rule"]
        )
        status, out, err = await hive(tmp_path, "answer", ident, "--choose", "3")
        assert asked == [{"agent": "scout", "rule": "Bash(make deploy)"}]
        if refused:
            assert (status, "frozen" in err) == (1, True)
            assert not asking.done()
        else:
            assert (status, out) == (0, f"proposal 7 is open\nanswered question {ident}\n")
            assert (await asking)["decision"] == "always"
        for task in (loose, asking):
            task.cancel()
        await asyncio.gather(loose, asking, return_exceptions=True)
        server.close()


async def test_login_agent_shows_the_page_and_passes_the_code_on(tmp_path):
    url = "https://claude.ai/oauth/authorize?code=true"
    async with rig(tmp_path) as broker:
        await broker.registry(agent(A, "scout", engine="claude", network="private"))
        scout = await broker.harness(A)
        answers = {"start": {"url": url}, "code": {"text": "logged in"}, "cancel": {}}
        scout.answers["login"] = lambda _, params: answers[params["step"]]
        status, out, _ = await hive(tmp_path, "login-agent", "scout", stdin="the-code\n")
        assert status == 0
        assert out.splitlines()[0] == f"log in here: {url}"
        assert out.endswith("logged in\n")
        steps = [scout.asked.get_nowait() for _ in range(scout.asked.qsize())]
        assert steps[-1] == ("login", {"step": "code", "code": "the-code"})
        status, _, err = await hive(tmp_path, "login-agent", "scout", stdin="\n")
        assert (status, "no code was given" in err) == (1, True)
        status, _, err = await hive(tmp_path, "login-agent", "nobody")
        assert (status, "there is no agent 'nobody'" in err) == (1, True)
