"""Which agents are served, where, and that none gets in another's way."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from support.gateway_rig import (
    KEY,
    OTHER,
    SCOUT,
    Hive,
    Upstream,
    UsageBroker,
    registered,
    until,
)

from hive_gateway.sockets import MAX_CONNECTIONS
from hive_wire.lock import Taken
from hive_wire.rpc_errors import RpcError


async def priced(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"usage": {"input_tokens": 3, "output_tokens": 4}})


def sock(hive: Hive, uid: str) -> Path:
    return hive.layout.agent_run(uid) / "model" / "model.sock"


async def post(hive: Hive, uid: str) -> int:
    async with hive.client(uid) as client, client.post("/v1/messages", json={}) as answer:
        await answer.read()
        return answer.status


async def test_the_socket_says_who_asks_whatever_the_request_claims(hive: Hive) -> None:
    async with Upstream(priced) as upstream, UsageBroker(hive.layout.broker_sock) as broker:
        hive.toml(f'url = "{upstream.url}"\n')
        hive.key(KEY)
        for uid in (SCOUT, OTHER):
            hive.directory(uid)
        async with hive.gateway():
            await hive.set_agents(SCOUT, OTHER)
            async with hive.client(SCOUT) as client:
                claims = {"x-hive-uid": OTHER, "host": OTHER, "uid": OTHER}
                body = {"uid": OTHER, "metadata": {"user_id": OTHER}}
                await client.post("/v1/messages", json=body, headers=claims)
            await until(lambda: bool(broker.reports))
    assert {report["uid"] for report in broker.reports} == {SCOUT}


async def test_a_socket_is_open_to_the_container_and_in_its_own_directory(hive: Hive) -> None:
    hive.directory(SCOUT)
    async with hive.gateway():
        await hive.set_agents(SCOUT)
        assert sock(hive, SCOUT).stat().st_mode & 0o777 == 0o666
        assert [p.name for p in sock(hive, SCOUT).parent.iterdir()] == ["model.sock"]


async def test_a_missing_directory_is_tried_again_at_the_next_registry(hive: Hive) -> None:
    hive.directory(SCOUT)
    async with hive.gateway():
        await hive.set_agents(SCOUT, OTHER)
        listening = {a["uid"]: a["listening"] for a in (await hive.ask("status"))["agents"]}
        assert listening == {SCOUT: True, OTHER: False}
        assert not hive.layout.agent_run(OTHER).exists()
        hive.directory(OTHER)
        await hive.set_agents(SCOUT, OTHER)
        assert await post(hive, OTHER) == 401


async def test_what_changed_is_told_alone(hive: Hive) -> None:
    for uid in (SCOUT, OTHER):
        hive.directory(uid)
    async with hive.gateway():
        await hive.set_agents(SCOUT)
        await hive.ask("registry.change", {"agents": [registered(OTHER)], "gone": []})
        assert sock(hive, OTHER).exists()
        await hive.ask("registry.change", {"agents": [], "gone": [SCOUT]})
        assert not sock(hive, SCOUT).exists()
    async with hive.gateway():  # and it is kept
        assert await post(hive, OTHER) == 401
        assert not sock(hive, SCOUT).exists()


async def test_a_directory_made_anew_is_bound_again(hive: Hive) -> None:
    hive.directory(SCOUT)
    async with hive.gateway():
        await hive.set_agents(SCOUT)
        shutil.rmtree(hive.layout.agent_run(SCOUT))
        hive.directory(SCOUT)
        await hive.set_agents(SCOUT)
        assert await post(hive, SCOUT) == 401


async def test_a_retired_agent_loses_its_socket_and_the_directory_stays(hive: Hive) -> None:
    for uid in (SCOUT, OTHER):
        hive.directory(uid)
    async with hive.gateway():
        await hive.set_agents(SCOUT, OTHER)
        async with hive.client(OTHER) as client:
            await client.post("/v1/messages", json={})
            await hive.set_agents(SCOUT)
            assert not sock(hive, OTHER).exists()
            assert sock(hive, OTHER).parent.is_dir()
            with pytest.raises(aiohttp.ClientError):
                await client.post("/v1/messages", json={})
        assert await post(hive, SCOUT) == 401


async def test_a_new_gateway_serves_the_last_registry(hive: Hive) -> None:
    hive.directory(SCOUT)
    async with hive.gateway():
        await hive.set_agents(SCOUT)
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(hive, SCOUT)
    async with hive.gateway():
        assert await post(hive, SCOUT) == 401
        (agent,) = (await hive.ask("status"))["agents"]
        assert agent == {"uid": SCOUT, "name": "aaaa", "listening": True}


async def test_an_unreadable_registry_waits_for_the_reconciler(hive: Hive) -> None:
    hive.layout.gateway.mkdir()
    (hive.layout.gateway / "registry.json").write_bytes(b"{")
    hive.directory(SCOUT)
    async with hive.gateway():
        await hive.set_agents(SCOUT)
        assert await post(hive, SCOUT) == 401


async def test_a_bad_registry_changes_nothing(hive: Hive) -> None:
    hive.directory(SCOUT)
    async with hive.gateway():
        await hive.set_agents(SCOUT)
        for bad in ({"agents": [{**registered(OTHER), "uid": "../../evil"}]}, {"x": 1}, {}):
            with pytest.raises(RpcError, match="no registry"):
                await hive.ask("registry.set", bad)
        assert await post(hive, SCOUT) == 401


async def test_one_agent_cannot_use_up_the_connections(hive: Hive) -> None:
    for uid in (SCOUT, OTHER):
        hive.directory(uid)
    async with hive.gateway():
        await hive.set_agents(SCOUT, OTHER)
        path = str(sock(hive, SCOUT))
        held = [await asyncio.open_unix_connection(path) for _ in range(MAX_CONNECTIONS)]
        with pytest.raises(aiohttp.ClientError):
            await post(hive, SCOUT)
        assert await post(hive, OTHER) == 401
        for _, writer in held:
            writer.close()
        async with asyncio.timeout(5):
            while True:
                try:
                    assert await post(hive, SCOUT) == 401
                    break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\xff\xfe garbage\r\n\r\n",
        b"POST http://evil.example/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        b"POST //evil.example/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        b"POST /v1/messages@evil.example HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        b"POST /v1/messages/../organizations HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        b"POST /v1/%6dessages HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        b"GET /v1/models/%2e%2e%2fx HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_hostile_requests_reach_nobody(hive: Hive, request_bytes: bytes) -> None:
    async with Upstream(priced) as upstream:
        hive.toml(f'url = "{upstream.url}"\n')
        hive.key(KEY)
        hive.directory(SCOUT)
        async with hive.gateway():
            await hive.set_agents(SCOUT)
            reader, writer = await asyncio.open_unix_connection(str(sock(hive, SCOUT)))
            writer.write(request_bytes)
            async with asyncio.timeout(10):
                line = await reader.readline()
            writer.close()
            assert line.split()[1] in (b"400", b"403"), line
            assert upstream.seen == []
            assert await post(hive, SCOUT) == 200


async def test_anybody_may_ask_for_the_status_in_the_documented_shape(hive: Hive) -> None:
    async with hive.gateway():
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, str(hive.layout.gateway_sock))
            reader, writer = await asyncio.open_unix_connection(sock=client)
            writer.write(b'{"jsonrpc":"2.0","id":1,"method":"status","params":{}}\n')
            answer = json.loads(await reader.readline())
            writer.close()
    assert answer["result"] == {
        "url": "https://api.anthropic.com",
        "credential": None,
        "problem": answer["result"]["problem"],
        "agents": [],
    }


async def test_a_second_gateway_takes_nothing_from_the_first(hive: Hive) -> None:
    hive.directory(SCOUT)
    async with hive.gateway():
        await hive.set_agents(SCOUT)
        inode = sock(hive, SCOUT).stat().st_ino
        with pytest.raises(Taken, match=f"another gateway serves {hive.layout.root} already"):
            async with hive.gateway():
                pass
        assert sock(hive, SCOUT).stat().st_ino == inode
        assert await post(hive, SCOUT) == 401
