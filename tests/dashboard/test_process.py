"""The process itself: starts, says its address, stops."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process

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


async def test_it_serves_alone_and_stops_cleanly(layout: Layout) -> None:
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
        other = await start(layout, int(address.rpartition(":")[2]))
        _, words = await other.communicate()
        assert other.returncode == 1
        assert b"is taken by another process" in words
        assert b"Traceback" not in words
        assert layout.dashboard_sock.exists(), "the second one leaves the first one's socket"
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            _, words = await process.communicate()
    assert process.returncode == 0, words
    assert not layout.dashboard_sock.exists()
