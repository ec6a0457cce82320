"""The process: how it starts, what it refuses, how it ends, what a bad peer can do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support.broker_rig import Harness, Tools, agent, connected, rig, until

from hive_broker.front.host_api import HostApi
from hive_broker.server import serving
from hive_wire.jsonrpc import Peer
from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError
from hive_wire.sockets import connect, listen

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
COMMAND = (sys.executable, "-m", "hive_broker", "--root")


def run(root) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, str(root)], capture_output=True, text=True, timeout=30, check=False
    )


async def test_a_damaged_record_is_one_line(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        assert await hive.stop() == 0
    path = Layout.of(tmp_path).broker / "broker.db"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("update agent set record = replace(record, '\"role\"', '\"rola\"')")
    refused = await asyncio.to_thread(run, tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "a row of it is damaged" in refused.stderr
    assert refused.stderr.endswith("restore a backup\n")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
async def test_it_stops_cleanly(tmp_path, signum):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        await hive.harness(A)
        assert hive.process is not None
        hive.process.send_signal(signum)
        async with asyncio.timeout(20):
            assert await hive.process.wait() == 0
        assert not hive.layout.broker_sock.exists()
        assert not (hive.layout.agent_run(A) / "harness.sock").exists()
        assert "Traceback" not in hive.log()


async def test_at_rest_it_has_nothing_of_tls_in_memory(tmp_path):
    async with rig(tmp_path) as hive:
        assert hive.process is not None
        await hive.registry(agent(A, "scout"))
        await hive.harness(A)
        maps = Path(f"/proc/{hive.process.pid}/maps").read_text()
        assert "uvloop" in maps
        assert "libssl" not in maps
        assert "libcrypto" not in maps


def test_whoever_asks_behind_the_lean_imports_gets_the_real_modules():
    script = """
from hive_broker.lean import lean_imports
with lean_imports():
    import asyncio, hashlib
    from pydantic import BaseModel
assert asyncio.base_events.ssl is None
assert hashlib.sha256(b"").hexdigest().startswith("e3b0c442")
import importlib.metadata, ssl
assert importlib.metadata.version("pydantic")
assert ssl.create_default_context().check_hostname
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


async def test_a_second_one_is_refused_in_one_line(tmp_path):
    async with rig(tmp_path) as hive:
        assert hive.process is not None
        second = await asyncio.to_thread(run, tmp_path)
        assert second.returncode == 1
        assert re.fullmatch(
            rf"hive-broker: another broker serves {tmp_path} already "
            rf"\(process {hive.process.pid}\)\n",
            second.stderr,
        )
        await hive.ask("status")


def test_a_foreign_or_newer_database_is_one_line(tmp_path):
    layout = Layout.of(tmp_path)
    layout.broker.mkdir(parents=True)
    path = layout.broker / "broker.db"
    path.write_text("not a database, but long enough to look like one\n" * 100)
    refused = run(tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "move it away" in refused.stderr
    path.unlink()
    db = sqlite3.connect(path)
    db.executescript(
        f"pragma application_id={0x48495645}; pragma user_version=77; create table x(y)"
    )
    db.close()
    refused = run(tmp_path)
    assert refused.returncode == 1
    assert "newer hyperhive (schema 77" in refused.stderr


async def test_a_malformed_frame_ends_that_connection_only(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        for path in (hive.layout.broker_sock, hive.layout.agent_run(A) / "harness.sock"):
            for bad in (b"nonsense\n", b"[1]\n", b"x" * (1 << 20) + b"\n"):
                reader, writer = await asyncio.open_unix_connection(path)
                with contextlib.suppress(ConnectionError):
                    async with asyncio.timeout(10):
                        writer.write(bad)
                        answer = await reader.readline()
                        assert b"-32700" in answer
                        assert await reader.read() == b""
                writer.close()
        await hive.ask("status")


async def test_who_never_reads_is_dropped(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        for _ in range(20):
            await hive.ask("send", to="scout", body="x" * 200_000, by="ann")
        with socket.socket(socket.AF_UNIX) as stuck:
            stuck.connect(str(hive.layout.broker_sock))
            ask = b'{"jsonrpc":"2.0","id":1,"method":"messages","params":{"limit":3}}\n'
            stuck.setblocking(False)
            sent = 0

            def dropped() -> bool:
                nonlocal sent
                try:
                    sent += stuck.send(ask * 20)
                except BlockingIOError:
                    return False
                except (BrokenPipeError, ConnectionResetError):
                    return True
                return False

            await until(dropped, "dropped")
        await hive.ask("status")


async def test_idle_connections_of_one_agent_end_the_oldest(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        path = hive.layout.agent_run(A) / "harness.sock"
        idle = [await connected(path) for _ in range(40)]
        await until(lambda: sum(peer.closed for peer in idle) >= 24, "closed")
        await hive.ask("send", to="scout", body="x", by="ann")
        await scout.granted()  # the one that said hello is not touched
        for peer in idle:
            peer.close()


async def test_one_harness_after_another(tmp_path):
    """Connections come and go; each hello takes over from the last."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        for _ in range(30):
            await scout.hello()
        await hive.ask("send", to="scout", body="x", by="ann")
        await scout.granted()
        assert scout.grants.empty()


async def test_nothing_blocks_the_loop(tmp_path):
    """The whole broker in this loop, where the detector of blocking calls watches."""
    layout = Layout.of(tmp_path)
    async with serving(layout):
        host = await connected(layout.broker_sock)
        for uid in (A, B):
            layout.agent_run(uid).mkdir(parents=True)
        agents = [agent(A, "scout"), agent(B, "cook")]
        await host.request("registry.set", {"agents": agents}, timeout=10)
        scout = Harness(layout.agent_run(A) / "harness.sock")
        await scout.hello()
        tools = await Tools.open(layout.agent_run(B) / "mcp.sock")
        await tools.call("send", to="scout", body="hi")
        turn = (await scout.granted())["turn"]
        await scout.ask("stream", rows=[])
        await scout.end(turn, "failed", counted=True, cause="model_error")
        await scout.end((await scout.granted())["turn"])
        await tools.call("ask_operator", question="?", ttl_seconds=1)
        for method in ("messages", "events", "questions", "dead", "agents", "status"):
            await host.request(method, {}, timeout=10)
        host.close()
        scout.close()
        tools.close()


async def test_the_gateway_may_report_and_nothing_else(tmp_path):
    layout = Layout.of(tmp_path)
    async with serving(layout) as app:
        host = await connected(layout.broker_sock)
        await host.request("registry.set", {"agents": [agent(A, "scout")]}, timeout=10)
        handlers = HostApi(app, lambda: asyncio.sleep(0), only_reports=os.getuid()).handlers()
        socket_path = tmp_path / "gateway.sock"
        server = await listen(socket_path, lambda: Peer(handlers))
        gateway = await connect(socket_path)
        used = {"uid": A, "usage": {"input_tokens": 5}, "at": 1.0}
        assert await gateway.request("usage", used, timeout=10) == {}
        assert await gateway.request("limited", {"uid": A, "until": 1.0}, timeout=10) == {}
        for method in sorted(set(handlers) - {"usage", "limited"}):
            with pytest.raises(RpcError, match="may report usage"):
                await gateway.request(method, {}, timeout=10)
        gateway.close()
        host.close()
        server.close()
