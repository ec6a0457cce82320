"""The Claude Code CLI as bare as it can be driven: what a harness costs is measured beside it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PIPE = asyncio.subprocess.PIPE
LINE = 64 << 20  # bytes of one line of the CLI


class BareEngine:
    """One resident CLI process that answers its own MCP requests with one tool."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self._argv, self._env, self._cwd = argv, env, cwd
        self._results: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._ready = asyncio.Event()

    async def __aenter__(self) -> BareEngine:
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            env=dict(self._env),
            cwd=self._cwd,
            stdin=PIPE,
            stdout=PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LINE,
        )
        self._reading = asyncio.create_task(self._read())
        request = {"subtype": "initialize", "hooks": None}
        self._write({"type": "control_request", "request_id": "first", "request": request})
        async with asyncio.timeout(60):
            await self._ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()
        await self._reading

    def say(self, text: str) -> None:
        message = {"role": "user", "content": text}
        line = {"type": "user", "uuid": str(uuid.uuid4()), "session_id": "", "message": message}
        self._write({**line, "parent_tool_use_id": None})

    async def result(self) -> dict[str, Any]:
        """The end of the turn. Raises TimeoutError after a minute."""
        async with asyncio.timeout(60):
            return await self._results.get()

    def _write(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            line = json.loads(raw)
            if line["type"] == "control_response":
                self._ready.set()
            elif line["type"] == "control_request":
                answer = {"subtype": "success", "request_id": line["request_id"]}
                response = {**answer, "response": _control(line["request"])}
                self._write({"type": "control_response", "response": response})
            elif line["type"] == "result":
                self._results.put_nowait(line)


def _control(request: dict[str, Any]) -> dict[str, Any]:
    if request["subtype"] != "mcp_message":
        return {"behavior": "deny", "message": "not in a bench"}
    asked = request["message"]
    if "id" not in asked:
        return {"mcp_response": {"jsonrpc": "2.0", "result": {}}}
    return {"mcp_response": {"jsonrpc": "2.0", "id": asked["id"], "result": answer(asked)}}


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The result of an MCP request, with the one tool there is."""
    if asked["method"] == "initialize":
        version = asked["params"]["protocolVersion"]
        server = {"name": "hive", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
    if asked["method"] == "tools/list":
        schema = {"type": "object", "properties": {"to": {"type": "string"}}}
        return {"tools": [{"name": "send", "description": "send", "inputSchema": schema}]}
    return {"content": [{"type": "text", "text": "sent"}]}
