"""Requests of agents through a real gateway to a real upstream."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from support.gateway_rig import KEY, OTHER, SCOUT, TOKEN, Answer, Hive, Upstream, sse, until

BODY = {"model": "m", "messages": []}


async def fine(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"type": "message"})


@asynccontextmanager
async def relaying(hive: Hive, answer: Answer = fine) -> AsyncIterator[Upstream]:
    async with Upstream(answer) as upstream:
        hive.toml(f'url = "{upstream.url}"\n')
        hive.key(KEY)
        hive.directory(SCOUT)
        hive.directory(OTHER)
        async with hive.gateway():
            await hive.set_agents(SCOUT, OTHER)
            yield upstream


async def test_the_containers_credential_is_replaced(hive: Hive) -> None:
    async with relaying(hive) as upstream, hive.client(SCOUT) as client:
        headers = {
            "X-Api-Key": "dummy",
            "Authorization": "Bearer dummy",
            "Cookie": "a=b",
            "Proxy-Authorization": "Basic x",
            "X-Forwarded-For": "1.2.3.4",
            "Accept-Encoding": "gzip, br",
            "Connection": "keep-alive, x-mine",
            "X-Mine": "dropped",
            "anthropic-version": "2023-06-01",
            "anthropic-beta": "a,b",
            "user-agent": "claude-cli/1",
        }
        async with client.post("/v1/messages?beta=true", json=BODY, headers=headers) as answer:
            assert answer.status == 200
    (seen,) = upstream.seen
    assert (seen.method, seen.target) == ("POST", "/v1/messages?beta=true")
    assert json.loads(seen.body) == BODY
    assert seen.headers["x-api-key"] == KEY
    assert seen.headers["accept-encoding"] == "identity"
    assert seen.headers["anthropic-beta"] == "a,b"
    assert seen.headers["user-agent"] == "claude-cli/1"
    assert seen.headers["host"] == upstream.url.removeprefix("http://")
    assert not {"authorization", "cookie", "proxy-authorization", "x-mine", "x-forwarded-for"} & {
        name.lower() for name in seen.headers
    }


async def test_an_oauth_token_goes_as_bearer_with_its_beta(hive: Hive) -> None:
    async with relaying(hive) as upstream, hive.client(SCOUT) as client:
        hive.toml(f'url = "{upstream.url}"\noauth_token_file = "keys/token"\n')
        hive.key(TOKEN, "token")
        headers = {"x-api-key": "dummy", "anthropic-beta": "claude-code-20250219"}
        async with client.post("/v1/messages", json=BODY, headers=headers) as answer:
            assert answer.status == 200
        assert (await hive.ask("status"))["credential"] == "oauth"
    (seen,) = upstream.seen
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["anthropic-beta"] == "claude-code-20250219,oauth-2025-04-20"
    assert "x-api-key" not in seen.headers


async def test_each_event_arrives_before_the_next_is_made(hive: Hive) -> None:
    go = asyncio.Queue[bytes]()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        while chunk := await go.get():
            await response.write(chunk)
        return response

    async with (
        relaying(hive, stream),
        hive.client(SCOUT) as client,
        client.post("/v1/messages", json=BODY) as answer,
    ):
        assert answer.content_type == "text/event-stream"
        for n in range(20):
            event = sse("ping", n=n)
            go.put_nowait(event)
            async with asyncio.timeout(5):
                assert await answer.content.readexactly(len(event)) == event
        go.put_nowait(b"")
        assert await answer.content.read() == b""


async def test_status_and_the_headers_that_pace_the_client_pass(hive: Hive) -> None:
    async def limited(_request: web.Request) -> web.StreamResponse:
        headers = {
            "retry-after": "7",
            "request-id": "req_1",
            "anthropic-ratelimit-unified-reset": "1",
            "set-cookie": "session=secret",
        }
        return web.json_response({"type": "error"}, status=429, headers=headers)

    async with (
        relaying(hive, limited),
        hive.client(SCOUT) as client,
        client.post("/v1/messages", json=BODY) as answer,
    ):
        assert answer.status == 429
        assert answer.headers["retry-after"] == "7"
        assert answer.headers["request-id"] == "req_1"
        assert answer.headers["anthropic-ratelimit-unified-reset"] == "1"
        assert "set-cookie" not in answer.headers
        assert await answer.json() == {"type": "error"}


@pytest.mark.parametrize("status", [400, 401, 404, 500, 529])
async def test_errors_of_the_api_pass_as_they_are(hive: Hive, status: int) -> None:
    async def failing(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"n": status}, status=status)

    async with (
        relaying(hive, failing),
        hive.client(SCOUT) as client,
        client.post("/v1/messages", json=BODY) as answer,
    ):
        assert (answer.status, await answer.json()) == (status, {"n": status})


async def test_big_bodies_pass_both_ways(hive: Hive) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(upstream.seen[-1].body)
        return response

    blob = bytes(range(256)) * (4096 * 30)  # 30 MiB
    async with (
        relaying(hive, echo) as upstream,
        hive.client(SCOUT) as client,
        client.post("/v1/messages", data=io.BytesIO(blob)) as answer,
    ):
        returned = await answer.read()
    assert hashlib.sha256(returned).digest() == hashlib.sha256(blob).digest()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(hive: Hive, chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(33):
            yield bytes(1 << 20)

    async with relaying(hive) as upstream, hive.client(SCOUT) as client:
        data = pieces() if chunked else io.BytesIO(bytes(33 << 20))
        try:
            async with client.post("/v1/messages", data=data) as answer:
                assert answer.status == 413
                assert (await answer.json())["error"]["type"] == "request_too_large"
        except aiohttp.ClientOSError:
            pass  # refused while it was still being sent
        assert all(not seen.body for seen in upstream.seen)
        async with client.post("/v1/messages", json=BODY) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/messages"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/files"),
        ("GET", "/"),
        ("GET", "/v1/models/.."),
        ("POST", "/v1/organizations/api_keys"),
        ("DELETE", "/v1/models/x"),
        ("POST", "/v1/models"),
    ],
)
async def test_other_paths_are_refused(hive: Hive, method: str, path: str) -> None:
    async with relaying(hive) as upstream, hive.client(SCOUT) as client:
        async with client.request(method, path) as answer:
            assert answer.status == 403
            assert answer.headers["x-should-retry"] == "false"
            body = await answer.json()
        assert body["type"] == "error"
        assert body["error"]["type"] == "permission_error"
        assert upstream.seen == []


async def test_head_and_the_list_of_models_pass(hive: Hive) -> None:
    async with relaying(hive) as upstream, hive.client(SCOUT) as client:
        async with client.head("/") as answer:
            assert answer.status == 200
        async with client.get("/v1/models/claude-sonnet-5?limit=1") as answer:
            assert answer.status == 200
        async with client.post("/v1/messages/count_tokens", json=BODY) as answer:
            assert answer.status == 200
    assert [s.target for s in upstream.seen] == [
        "/",
        "/v1/models/claude-sonnet-5?limit=1",
        "/v1/messages/count_tokens",
    ]


async def test_a_redirect_is_not_followed(hive: Hive) -> None:
    async def elsewhere(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"location": "/v1/elsewhere"})

    async with (
        relaying(hive, elsewhere) as upstream,
        hive.client(SCOUT) as client,
        client.post("/v1/messages", json=BODY, allow_redirects=False) as answer,
    ):
        assert answer.status == 307
    assert len(upstream.seen) == 1


async def test_a_client_that_leaves_cancels_the_upstream(hive: Hive) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sse("ping"))
        await asyncio.Event().wait()
        raise AssertionError

    async with relaying(hive, endless) as upstream, hive.client(SCOUT) as client:
        answer = await client.post("/v1/messages", json=BODY)
        await answer.content.readline()
        answer.close()
        async with asyncio.timeout(5):
            await upstream.left.wait()


async def test_a_client_that_leaves_before_the_head_cancels_the_upstream(hive: Hive) -> None:
    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with relaying(hive, silent) as upstream, hive.client(SCOUT) as client:
        asking = asyncio.create_task(client.post("/v1/messages", json=BODY).__aenter__())
        await until(lambda: bool(upstream.seen))
        asking.cancel()
        async with asyncio.timeout(5):
            await upstream.left.wait()


async def test_an_answer_that_is_cut_upstream_is_cut_for_the_client(hive: Hive) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sse("ping"))
        assert request.transport is not None
        request.transport.abort()
        return response

    async with (
        relaying(hive, cut),
        hive.client(SCOUT) as client,
        client.post("/v1/messages", json=BODY) as answer,
    ):
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await answer.read()


async def test_an_unreachable_api_is_an_error_to_retry(hive: Hive) -> None:
    async with relaying(hive), hive.client(SCOUT) as client:
        hive.toml('url = "http://127.0.0.1:9"\n')
        async with client.post("/v1/messages", json=BODY) as answer:
            assert answer.status == 502
            assert "x-should-retry" not in answer.headers
            error = (await answer.json())["error"]
    assert error["type"] == "api_error"
    assert "http://127.0.0.1:9 cannot be reached" in error["message"]


async def test_without_a_credential_the_error_says_what_to_do(hive: Hive) -> None:
    async with relaying(hive) as upstream, hive.client(SCOUT) as client:
        (hive.layout.keys / "anthropic-api-key").unlink()
        async with client.post("/v1/messages", json=BODY) as answer:
            assert answer.status == 401
            assert answer.headers["x-should-retry"] == "false"
            error = (await answer.json())["error"]
        assert error["type"] == "authentication_error"
        assert "keys/anthropic-api-key" in error["message"]
        assert "chmod" not in error["message"]
        assert str(hive.layout.root) not in error["message"]
        assert upstream.seen == []
        status = await hive.ask("status")
        assert status["credential"] is None
        assert "no credential" in status["problem"]


async def test_edits_work_without_a_restart(hive: Hive) -> None:
    async with relaying(hive) as upstream, hive.client(SCOUT) as client, Upstream(fine) as second:
        await client.post("/v1/messages", json=BODY)
        hive.key("sk-ant-second")
        await client.post("/v1/messages", json=BODY)
        hive.toml(f'url = "{second.url}/prefix/"\n')
        await client.post("/v1/messages", json=BODY)
        assert [s.headers["x-api-key"] for s in upstream.seen] == [KEY, "sk-ant-second"]
        assert [s.target for s in second.seen] == ["/prefix/v1/messages"]


async def test_a_broken_file_leaves_the_last_good_one_in_force(hive: Hive) -> None:
    async with relaying(hive) as upstream, hive.client(SCOUT) as client:
        await client.post("/v1/messages", json=BODY)
        hive.toml(f'\nurll = "{upstream.url}"\n')
        async with client.post("/v1/messages", json=BODY) as answer:
            assert answer.status == 200
        status = await hive.ask("status")
        assert status["problem"] == "gateway.toml:2: urll: is no key here; did you mean 'url'?"
        assert status["url"] == upstream.url


async def test_no_secret_is_logged(hive: Hive, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    with caplog.at_level(logging.DEBUG):
        async with relaying(hive, broken), hive.client(SCOUT) as client:
            async with client.post("/v1/messages", json=BODY) as answer:
                assert answer.status == 502
                assert KEY not in await answer.text()
            hive.key(f"{KEY} {KEY}")
            async with client.post("/v1/messages", json=BODY) as answer:
                assert answer.status == 401
                assert KEY not in await answer.text()
            hive.key(KEY, mode=0o644)
            async with client.post("/v1/messages", json=BODY) as answer:
                assert "open to other users" in await answer.text()
    assert KEY not in caplog.text
