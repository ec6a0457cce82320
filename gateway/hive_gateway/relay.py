"""One request of an agent on its way to the model API and back, byte by byte."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
from aiohttp import web_request, web_response
from yarl import URL

from hive_wire.protocol import Usage

from . import answers, rules
from .config import Config, Upstream
from .meter import Meter, meter_for
from .prices import usd
from .seldom import Seldom

log = logging.getLogger(__name__)

CONNECT = 15.0  # seconds
SILENCE = 660.0  # seconds; above the client's own limit of 600, which is to act first


class Body:
    """A request's body in passing, cut at the limit."""

    def __init__(self, request: web_request.BaseRequest) -> None:
        self._request = request
        self.too_large = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        passed = 0
        async for chunk in self._request.content.iter_any():
            passed += len(chunk)
            if passed > rules.MAX_BODY:
                self.too_large = True
                raise ValueError("the request is over the limit")
            yield chunk


class Relay:
    """`used(uid, usage, usd)` is told what each answer cost, `limited(uid, until)` until when
    the API answers no more."""

    def __init__(
        self,
        config: Config,
        used: Callable[[str, Usage, float], None],
        limited: Callable[[str, float], None],
    ) -> None:
        self._config = config
        self._used = used
        self._limited = limited
        self._say = Seldom(log)
        self._session = aiohttp.ClientSession(
            # sockets already bound how many connections each agent has
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),  # nothing of one agent reaches another
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE),
            auto_decompress=False,
            skip_auto_headers=("user-agent", "accept", "content-type"),
        )

    async def close(self) -> None:
        await self._session.close()

    async def answer(
        self, uid: str, request: web_request.BaseRequest
    ) -> web_response.StreamResponse:
        """The response to a request that came over the socket of agent `uid`.

        Cancelled when the client leaves, and the upstream request with it.
        """
        try:
            return await self._answer(uid, request)
        except Exception:
            log.exception("%s: %s failed", uid, request.method)
            return answers.error(500, "api_error", "failed inside; its log on the host says why")

    async def _answer(
        self, uid: str, request: web_request.BaseRequest
    ) -> web_response.StreamResponse:
        if not rules.allowed(request.method, request.raw_path):
            return answers.not_allowed(request.method, request.raw_path)
        upstream = await self._config.current()
        if upstream.credential is None:
            return answers.not_configured(upstream.problem or "no credential")
        if (request.content_length or 0) > rules.MAX_BODY:
            return answers.too_large(rules.MAX_BODY)
        body = Body(request)
        try:
            async with self._ask(upstream, request, body) as answer:
                return await self._pass_on(uid, request, answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            if body.too_large:
                return answers.too_large(rules.MAX_BODY)
            cause = str(error) or "no answer in time"
            self._say.warning(uid, "the model API at %s is unreachable: %s", upstream.url, cause)
            return answers.unreachable(upstream.url, cause)

    def _ask(
        self, upstream: Upstream, request: web_request.BaseRequest, body: Body
    ) -> aiohttp.client._RequestContextManager:
        return self._session.request(
            request.method,
            URL(upstream.url + request.raw_path, encoded=True),
            headers=rules.request_headers(request.headers, upstream.credential),
            data=aiter(body) if request.body_exists else None,
            allow_redirects=False,  # a redirect would carry the credential elsewhere
        )

    async def _pass_on(
        self, uid: str, request: web_request.BaseRequest, answer: aiohttp.ClientResponse
    ) -> web_response.StreamResponse:
        response = web_response.StreamResponse(
            status=answer.status,
            reason=answer.reason,
            headers=rules.response_headers(answer.headers),
        )
        meter = self._meter(uid, request, answer)
        until = rules.retry_at(answer.headers, time.time()) if answer.status == 429 else None
        if until is not None:
            self._limited(uid, until)
        try:
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                if meter is not None:  # first: who leaves while it is written may have read it
                    meter.feed(chunk)
                await response.write(chunk)
            await response.write_eof()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # the head is out: only a cut connection tells the client that the rest is missing
            self._say.warning(uid, "the answer was cut: %s", error or "silence")
            if request.transport is not None:
                request.transport.abort()
        finally:
            usage = meter.usage() if meter is not None else None
            if meter is not None and usage is not None:
                self._used(uid, usage, usd(meter.model, usage))
        return response

    def _meter(
        self, uid: str, request: web_request.BaseRequest, answer: aiohttp.ClientResponse
    ) -> Meter | None:
        meter = meter_for(request.raw_path, answer.status, answer.content_type)
        if meter is not None and answer.headers.get("content-encoding", "identity") != "identity":
            self._say.warning(uid, "the model API packed its answer unasked; usage is not counted")
            return None
        return meter
