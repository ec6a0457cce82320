"""The process itself: starts, says its address, stops."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import aiohttp
from support.dashboard_world import SAME

from hive_wire.paths import Layout
from hive_wire.sockets import connect


async def start(layout: Layout, port: int = 0) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hive_dashboard",
        "--root",
        str(layout.root),
        "--port",
        str(port),
        stdout=PIPE,
        stderr=PIPE,
    )


async def refused(process: Process) -> str:
    async with asyncio.timeout(30):
        _, words = await process.communicate()
    assert process.returncode == 1
    assert b"Traceback" not in words
    return words.decode()


async def test_it_serves_alone_and_stops_cleanly(layout: Layout, tmp_path: Path) -> None:
    process = await start(layout)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            said = (await process.stdout.readline()).decode()
        address = said.split()[-1].rstrip("/")
        assert (layout.dashboard / "port").read_text().strip() == address.rpartition(":")[2]
        peer = await connect(layout.dashboard_sock)
        link = (await peer.request("login.issue", {"user": "ana", "view_only": False}))["url"]
        peer.close()
        assert link.startswith(address)
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as http:
            code = link.partition("#")[2]
            async with http.post(f"{address}/login", data={"code": code}, headers=SAME) as answer:
                text = await answer.text()
        assert "the broker is away" in text
        assert "the reconciler is away" in text
        same_port = await start(Layout.of(tmp_path / "other"), int(address.rpartition(":")[2]))
        assert "is taken by another process" in await refused(same_port)
        same_root = await start(layout)
        assert f"already (process {process.pid})" in await refused(same_root)
        (await connect(layout.dashboard_sock)).close()  # it is still the first one's
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            _, words = await process.communicate()
    assert process.returncode == 0, words
    assert not layout.dashboard_sock.exists()
