"""A scriptable stand-in of the Messages API: SSE and plain JSON, on TCP and on unix sockets.

In a test:

    async with FakeApi() as api:
        await api.serve_unix(path)            # or: url = await api.serve_tcp()
        api.script(Step(calls=(Call("Bash", {"command": "ls"}),)), Step(text="done"))
        ...
        request = await api.request(1)        # the first one, as soon as it came

As a process, for benches: `python tests/support/fake_messages_api.py --unix PATH --tcp PORT`,
steered by `POST /__script` (a JSON list of steps), `GET /__log` and `POST /__reset`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from aiohttp import web

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


@dataclass(frozen=True)
class Call:
    """A tool_use block. A name that ends in `*` takes the first offered tool with that prefix."""

    name: str
    input: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """The answer to one POST /v1/messages."""

    text: str | None = None
    thinking: str = ""
    calls: tuple[Call, ...] = ()
    stop: str = ""  # stop_reason; by default tool_use or end_turn
    usage: Mapping[str, int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: int = 1  # pieces that the text is cut into
    gate: asyncio.Event | None = None  # the answer's head waits for it
    delay: float = 0.0  # seconds before the answer's head
    # An HTTP error instead of a message.
    status: int = 200
    error: str = ""
    message: str = ""
    # A fault in mid-stream, after so many events.
    fault: Literal["", "disconnect", "truncate", "hang", "malformed", "sse_error"] = ""
    after: int = 2


@dataclass(frozen=True)
class Request:
    """One POST that came: when (monotonic seconds), where, and what it said."""

    n: int
    at: float
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def tools(self) -> list[str]:
        return [tool.get("name", "") for tool in self.body.get("tools") or []]

    @property
    def last(self) -> str:
        """The text of the last message of the user; a tool's result as its JSON."""
        messages = [m for m in self.body.get("messages") or () if m.get("role") == "user"]
        return _text(messages[-1].get("content")) if messages else ""

    @property
    def system(self) -> str:
        return _text(self.body.get("system"))

    @property
    def everything(self) -> str:
        return json.dumps(self.body, ensure_ascii=False)


Brain = Callable[[Request], Step]


class FakeApi:
    """Answers with the scripted steps in order, then with `default` (a step or a function)."""

    def __init__(self, default: Step | Brain | None = None) -> None:
        self.default: Step | Brain = default or Step(text="done")
        self.requests: list[Request] = []
        self.ledger: dict[str, int] = {"input_tokens": 0, "output_tokens": 0}
        self._steps: deque[Step] = deque()
        self._came = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/messages/count_tokens", self._count)
        app.router.add_post("/__script", self._script)
        app.router.add_get("/__log", self._log)
        app.router.add_post("/__reset", self._reset)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def serve_unix(self, path: Path) -> None:
        assert self._runner is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        await web.UnixSite(self._runner, str(path)).start()

    async def serve_tcp(self, port: int = 0) -> str:
        """The base URL, on a free port of loopback by default."""
        assert self._runner is not None
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        assert site._server is not None
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        return f"http://127.0.0.1:{port}"

    def script(self, *steps: Step) -> None:
        """Append steps to what is answered next."""
        self._steps.extend(steps)

    async def request(self, n: int, timeout: float = 30.0) -> Request:
        """The n-th request (from 1), as soon as it came. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._came:
            await self._came.wait_for(lambda: len(self.requests) >= n)
        return self.requests[n - 1]

    # -- endpoints -------------------------------------------------------------

    async def _messages(self, http: web.Request) -> web.StreamResponse:
        request = await self._note(http)
        step = self._next(request)
        if step.gate is not None:
            await step.gate.wait()
        if step.delay:
            await asyncio.sleep(step.delay)
        if step.status != 200:
            return _http_error(step)
        message = _message(step, request)
        for key in self.ledger:
            self.ledger[key] += message["usage"][key]
        headers = {"request-id": message["id"], **step.headers}
        if not request.body.get("stream"):
            return web.json_response(message, headers=headers)
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **headers})
        await response.prepare(http)
        for number, event in enumerate(_events(message, step)):
            if step.fault and number == step.after and await _fault(step, http, response):
                return response
            await response.write(_sse(event))
        return response

    async def _note(self, http: web.Request) -> Request:
        at = time.monotonic()
        body = json.loads(await http.read() or b"{}")
        async with self._came:
            request = Request(len(self.requests) + 1, at, http.path_qs, dict(http.headers), body)
            self.requests.append(request)
            self._came.notify_all()
        return request

    def _next(self, request: Request) -> Step:
        if self._steps:
            return self._steps.popleft()
        return self.default if isinstance(self.default, Step) else self.default(request)

    async def _count(self, _: web.Request) -> web.Response:
        return web.json_response({"input_tokens": 10})

    async def _script(self, http: web.Request) -> web.Response:
        for raw in await http.json():
            calls = tuple(Call(**call) for call in raw.pop("calls", ()))
            self.script(Step(calls=calls, **raw))
        return web.json_response({"queued": len(self._steps)})

    async def _log(self, _: web.Request) -> web.Response:
        return web.json_response(
            [{"n": r.n, "at": r.at, "path": r.path, "last": r.last} for r in self.requests]
        )

    async def _reset(self, _: web.Request) -> web.Response:
        self.requests.clear()
        self._steps.clear()
        return web.json_response({})


# -- the shapes of the API -----------------------------------------------------


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = []
    for block in content or []:
        if block.get("type") == "text":
            parts.append(block["text"])
        elif block.get("type") == "tool_result":
            parts.append(json.dumps(block.get("content"), ensure_ascii=False))
    return "\n".join(parts)


def _message(step: Step, request: Request) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if step.thinking:
        content.append({"type": "thinking", "thinking": step.thinking, "signature": "sig"})
    if step.text is not None or not step.calls:
        content.append({"type": "text", "text": step.text or ""})
    for number, call in enumerate(step.calls):
        name = call.name
        if name.endswith("*"):
            name = next((tool for tool in request.tools if tool.startswith(name[:-1])), name)
        ident = f"toolu_{request.n:05d}{number}"
        content.append({"type": "tool_use", "id": ident, "name": name, "input": dict(call.input)})
    usage = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 5,
        **step.usage,
    }
    return {
        "id": f"msg_{request.n:05d}",
        "type": "message",
        "role": "assistant",
        "model": request.body.get("model") or "fake",
        "content": content,
        "stop_reason": step.stop or ("tool_use" if step.calls else "end_turn"),
        "stop_sequence": None,
        "usage": usage,
    }


def _events(message: dict[str, Any], step: Step) -> list[dict[str, Any]]:
    head = {**message, "content": [], "stop_reason": None}
    head["usage"] = {**message["usage"], "output_tokens": 1}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(message["content"]):
        empty, deltas = _streamed(block, max(1, step.chunks))
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    return [
        *events,
        {"type": "message_delta", "delta": end, "usage": usage},
        {"type": "message_stop"},
    ]


def _streamed(block: dict[str, Any], pieces: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The empty block that opens a stream, and the deltas that fill it."""
    if block["type"] == "text":
        text = block["text"]
        size = max(1, -(-len(text) // pieces))
        cuts = [text[at : at + size] for at in range(0, len(text), size)] or [""]
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": cut} for cut in cuts]
    if block["type"] == "thinking":
        return {"type": "thinking", "thinking": "", "signature": ""}, [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    return {**block, "input": {}}, [delta]


def _sse(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _http_error(step: Step) -> web.Response:
    kind = step.error or ERROR_TYPES.get(step.status, "api_error")
    message = step.message or f"scripted {step.status}"
    body = {"type": "error", "error": {"type": kind, "message": message}}
    return web.json_response(body, status=step.status, headers=dict(step.headers))


async def _fault(step: Step, http: web.Request, response: web.StreamResponse) -> bool:
    """Misbehave as scripted. True when the answer ends with it."""
    if step.fault == "disconnect":
        assert http.transport is not None
        http.transport.abort()
    elif step.fault == "malformed":
        await response.write(b'event: content_block_delta\ndata: {"type":"content_blo!!\n\n')
    elif step.fault == "sse_error":
        error = {"type": step.error or "overloaded_error", "message": step.message or "scripted"}
        await response.write(_sse({"type": "error", "error": error}))
    elif step.fault == "hang":
        while http.transport is not None and not http.transport.is_closing():
            await asyncio.sleep(0.02)
    return True


async def _main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--unix", type=Path)
    options.add_argument("--tcp", type=int)
    given = options.parse_args()
    async with FakeApi() as api:
        if given.unix:
            await api.serve_unix(given.unix)
        if given.tcp is not None:
            print(await api.serve_tcp(given.tcp), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main())
