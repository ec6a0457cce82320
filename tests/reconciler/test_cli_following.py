"""hive flow --follow and hive inbox --follow, against a real broker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest
from support.broker_rig import agent, rig

pytestmark = pytest.mark.slow

A = "aaaaaaaaaaaa"
HIVE = (sys.executable, "-m", "hive_reconciler.app.cli")


@pytest.mark.parametrize("command", [("flow",), ("inbox",), ("inbox", "--json")])
async def test_what_is_said_while_one_follows_is_shown(tmp_path, command):
    async with rig(tmp_path) as broker:
        await broker.registry(agent(A, "scout"))
        tools = await broker.tools(A)
        await tools.call("send", to="operator", body="before")
        process = await asyncio.create_subprocess_exec(
            *HIVE, *command, "--follow", "--root", str(tmp_path),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
            # Tests in the background of a script have inherited that it is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        assert process.stdout and process.stderr
        async with asyncio.timeout(50):
            for said in (b"before", b"meanwhile"):
                while said not in (line := await process.stdout.readline()):
                    assert line, await process.stderr.read()
                await tools.call("send", to="operator", body="meanwhile")
        process.send_signal(signal.SIGINT)
        assert (await process.communicate())[1] == b""
        assert process.returncode == 130
