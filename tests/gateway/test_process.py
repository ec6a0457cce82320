"""The gateway as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from support.gateway_rig import SCOUT, registered

from hive_wire.paths import Layout
from hive_wire.sockets import connect

LIMIT = 60 << 10  # KiB


@asynccontextmanager
async def started(layout: Layout, run: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hive_gateway", "--root", str(layout.root)),
        env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": run, "ANTHROPIC_API_KEY": "dummy"},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(20):
            while not await _answers(layout):
                assert process.returncode is None
                await asyncio.sleep(0.02)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(layout: Layout) -> bool:
    try:
        (await connect(layout.gateway_sock)).close()
    except OSError:
        return False
    return True


async def test_it_serves_stops_and_takes_over_after_a_kill(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="hg-") as run:
        os.environ["XDG_RUNTIME_DIR"], before = run, os.environ.get("XDG_RUNTIME_DIR")
        try:
            layout = Layout.of(tmp_path / "root")
        finally:
            os.environ.pop("XDG_RUNTIME_DIR")
            if before is not None:
                os.environ["XDG_RUNTIME_DIR"] = before
        path = layout.agent_run(SCOUT) / "model/model.sock"
        async with started(layout, run) as process:
            path.parent.mkdir(parents=True)
            peer = await connect(layout.gateway_sock)
            await peer.request("registry.set", {"agents": [registered(SCOUT)]}, timeout=10)
            assert (await peer.request("status", timeout=10))["credential"] == "api-key"
            peer.close()
            assert _rss(process.pid) < LIMIT
            process.kill()
            await process.wait()
        async with started(layout, run) as process:
            connector = aiohttp.UnixConnector(str(path))
            async with (
                aiohttp.ClientSession("http://model.invalid", connector=connector) as client,
                client.get("/v1/nothing") as answer,
            ):
                assert answer.status == 403
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                _, errors = await process.communicate()
        assert process.returncode == 0
        assert b"Traceback" not in errors


def _rss(pid: int) -> int:
    """KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])
