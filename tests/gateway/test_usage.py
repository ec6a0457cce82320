"""The second ledger: what the gateway counted reaches the broker once, whatever dies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from support.gateway_rig import KEY, OTHER, SCOUT, Answer, Hive, Upstream, UsageBroker, sse, until

from hive_wire.rpc_errors import INTERNAL_ERROR, NOT_FOUND, RpcError


async def streamed(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    usage = {
        "input_tokens": 10,
        "output_tokens": 1,
        "cache_read_input_tokens": 7,
        "cache_creation_input_tokens": 5,
    }
    await response.write(sse("message_start", message={"usage": usage}))
    await response.write(sse("content_block_delta", delta={"text": '"usage": {"output_tokens":9}'}))
    await response.write(sse("message_delta", usage={"output_tokens": 20}))
    await response.write(sse("message_stop"))
    return response


@asynccontextmanager
async def relaying(hive: Hive, answer: Answer = streamed) -> AsyncIterator[None]:
    async with Upstream(answer) as upstream:
        hive.toml(f'url = "{upstream.url}"\n')
        hive.key(KEY)
        for uid in (SCOUT, OTHER):
            hive.directory(uid)
        async with hive.gateway():
            await hive.set_agents(SCOUT, OTHER)
            yield


async def post(hive: Hive, uid: str, times: int = 1) -> None:
    async with hive.client(uid) as client:
        for _ in range(times):
            async with client.post("/v1/messages", json={}) as answer:
                await answer.read()


async def test_a_streamed_answer_is_counted(hive: Hive) -> None:
    async with UsageBroker(hive.layout.broker_sock) as broker, relaying(hive):
        await post(hive, SCOUT)
        await until(lambda: bool(broker.reports))
    (report,) = broker.reports
    assert set(report) == {"uid", "usage", "usd", "at"}
    assert report["usd"] == pytest.approx((10 + 0.7 + 6.25) * 5e-6 + 20 * 25e-6)
    assert report["uid"] == SCOUT
    assert report["usage"] == {
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_tokens": 7,
        "cache_write_tokens": 5,
    }


async def test_an_answer_that_the_client_leaves_is_counted_as_far_as_it_came(hive: Hive) -> None:
    async def started(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sse("message_start", message={"usage": {"input_tokens": 11}}))
        await asyncio.Event().wait()
        raise AssertionError

    async with (
        UsageBroker(hive.layout.broker_sock) as broker,
        relaying(hive, started),
        hive.client(SCOUT) as client,
    ):
        answer = await client.post("/v1/messages", json={})
        await answer.content.readline()
        await answer.content.readline()
        answer.close()
        await until(lambda: broker.total(SCOUT, "input_tokens") == 11)


async def test_what_came_counts_though_the_client_left_while_it_got_it(
    hive: Hive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may read most of what is written and leave before the write ends."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"usage": {"input_tokens": 5, "output_tokens": 9}})

    write = web.StreamResponse.write

    async def cut(self: web.StreamResponse, data: bytes) -> None:
        await write(self, data)
        raise ConnectionResetError("Cannot write to closing transport")

    async with UsageBroker(hive.layout.broker_sock) as broker, relaying(hive, answer):
        monkeypatch.setattr(web.StreamResponse, "write", cut)
        async with hive.client(SCOUT) as client:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.post("/v1/messages", json={}) as found:
                    await found.read()
        await until(lambda: broker.total(SCOUT, "output_tokens") == 9)


async def test_errors_and_counts_cost_nothing(hive: Hive) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        status = 200 if request.path.endswith("count_tokens") else 400
        return web.json_response({"usage": {"input_tokens": 5}}, status=status)

    async with UsageBroker(hive.layout.broker_sock) as broker, relaying(hive, answer):
        await post(hive, SCOUT)
        async with hive.client(SCOUT) as client:
            await client.post("/v1/messages/count_tokens", json={})
    assert broker.reports == []


async def test_usage_waits_for_a_broker_that_is_away_and_is_one_report(hive: Hive) -> None:
    async with relaying(hive):
        await post(hive, SCOUT, 5)
        await post(hive, OTHER, 2)
        async with UsageBroker(hive.layout.broker_sock) as broker:
            await until(lambda: broker.total(OTHER, "output_tokens") == 40)
            assert broker.total(SCOUT, "output_tokens") == 100
            assert len(broker.reports) == 2


async def test_usage_outlives_the_gateway(hive: Hive) -> None:
    async with relaying(hive):
        await post(hive, SCOUT, 3)
        kept = hive.layout.gateway / "usage.json"
        await until(lambda: kept.exists() and b"60" in kept.read_bytes())
    async with UsageBroker(hive.layout.broker_sock) as broker, hive.gateway():
        await until(lambda: broker.total(SCOUT, "output_tokens") == 60)


async def test_a_report_without_an_answer_is_sent_again_unchanged(
    hive: Hive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_gateway.reporter.RETRY", 0.01)
    async with relaying(hive):
        async with UsageBroker(hive.layout.broker_sock) as broker:
            broker.error = RpcError(INTERNAL_ERROR, "disk full")
            await post(hive, SCOUT)
            await until(lambda: broker.asked > 1)
        async with UsageBroker(hive.layout.broker_sock) as broker:
            await post(hive, SCOUT, 2)
            await until(lambda: broker.total(SCOUT, "output_tokens") == 60)


async def test_a_report_that_is_refused_for_good_is_given_up(
    hive: Hive, caplog: pytest.LogCaptureFixture
) -> None:
    async with UsageBroker(hive.layout.broker_sock) as broker, relaying(hive):
        broker.error = RpcError(NOT_FOUND, "no such agent")
        await post(hive, SCOUT)
        await until(lambda: "no such agent" in caplog.text)
        broker.error = None
        await post(hive, OTHER)
        await until(lambda: broker.total(OTHER, "output_tokens") == 20)
        assert broker.total(SCOUT, "output_tokens") == 0


async def test_an_unreadable_ledger_does_not_stop_the_gateway(hive: Hive) -> None:
    hive.layout.gateway.mkdir()
    (hive.layout.gateway / "usage.json").write_bytes(b"not json")
    async with UsageBroker(hive.layout.broker_sock) as broker, relaying(hive):
        await post(hive, SCOUT)
        await until(lambda: broker.total(SCOUT, "output_tokens") == 20)


async def test_a_limit_with_an_end_is_told(hive: Hive) -> None:
    async def refused(_: web.Request) -> web.Response:
        return web.json_response({}, status=429, headers={"retry-after": "3600"})

    async with UsageBroker(hive.layout.broker_sock) as broker, relaying(hive, refused):
        await until(lambda: bool(broker._peers))
        await post(hive, SCOUT)
        await until(lambda: bool(broker.limits))
        (limit,) = broker.limits
        assert limit["uid"] == SCOUT
        assert abs(limit["until"] - time.time() - 3600) < 30
