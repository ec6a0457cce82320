"""A broker double for the harness: docs/protocol.md from the other end, all in memory.

It grants one turn at a time, takes terminal events once, gives failed turns again, and
serves a small MCP server on mcp.sock whose calls take effect once per `hive/call` name.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from hive_broker.front.params import State
from hive_wire.jsonrpc import Peer
from hive_wire.protocol import Hello, StreamRow, TurnEnd
from hive_wire.sockets import listen

Handler = Callable[[dict[str, Any]], str]


class ToolError(Exception):
    """A tool's answer that is an error."""


class FakeBroker:
    def __init__(self, run: Path, uid: str = "aaaaaaaaaaaa", name: str = "tester") -> None:
        self.run = run
        self.uid, self.name = uid, name
        self.hellos: list[Hello] = []
        self.rows: list[StreamRow] = []
        self.states: list[dict[str, Any]] = []
        self.ends: list[TurnEnd] = []  # each terminal event, once
        self.unheard: list[dict[str, Any]] = []
        self.granted: list[str] = []
        self.calls: list[tuple[str, str, dict[str, Any]]] = []  # name, tool, arguments: effects
        self.asked: list[str] = []  # names of calls as they came, repeated ones too
        self.tools: dict[str, Handler] = {"send": lambda _: '{"id": 1}'}
        self.permissions: list[dict[str, Any]] = []  # as they were asked
        self.withdrawn: list[str] = []
        self.decision: dict[str, Any] | None = None  # on every permission; None: nobody answers
        self.chunks: dict[str, list[bytes]] = {}
        self.regrant = True  # a failed or returned turn comes again at once
        self.resume = True  # a running turn that a hello reports still stands
        self.open = True  # the model may be asked between turns
        self.upkeeps = 0  # how often that was wished
        self.forgets_ends = False  # turn.end is neither stored nor answered
        self.answers_hellos = asyncio.Event()  # else they wait
        self.answers_hellos.set()
        self.stored: dict[str, dict[str, Any]] = {}
        self._queue: deque[tuple[dict[str, Any], int]] = deque()
        self._leased: tuple[dict[str, Any], int] | None = None
        self._acked: dict[str, int] = {}
        self._boot = ""
        self._ids = itertools.count(1)
        self._peer: Peer | None = None
        self._servers: list[asyncio.Server] = []
        self._mcp: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        handlers = {
            "hello": self._hello,
            "stream": self._stream,
            "state": self._state,
            "turn.end": self._turn_end,
            "upkeep": self._upkeep,
            "permission": self._permission,
            "permission.withdraw": self._withdraw,
            "chunk": self._chunk,
        }
        self.run.mkdir(parents=True, exist_ok=True)
        self._servers = [
            await listen(self.run / "harness.sock", lambda: Peer(handlers, on_close=self._closed)),
            await asyncio.start_unix_server(
                self._serve_mcp, str(self.run / "mcp.sock"), limit=1 << 21
            ),
        ]

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        if self._peer is not None:
            self._peer.close()
            await self._peer.gone()
        for writer in list(self._mcp):
            writer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for path in ("harness.sock", "mcp.sock"):
            (self.run / path).unlink(missing_ok=True)

    # -- what a test does ------------------------------------------------------

    def post(self, body: str, sender: str = "operator", kind: str = "text", **more: Any) -> int:
        """Queue a message for the agent; its id."""
        ident = next(self._ids)
        self._queue.append((self._message(ident, body, sender=sender, kind=kind, **more), 1))
        self._grant_next()
        return ident

    def post_again(self, message: int, body: str, attempt: int) -> None:
        """It comes back, for this attempt."""
        self._queue.appendleft((self._message(message, body), attempt))
        self._grant_next()

    def _message(self, ident: int, body: str, **more: Any) -> dict[str, Any]:
        return {
            "id": ident,
            "sender": "operator",
            "to": self.name,
            "kind": "text",
            "body": body,
            "data": None,
            "thread": ident,
            "in_reply_to": None,
            "at": time.time(),
            **more,
        }

    def lease(self, message: int, body: str, attempt: int = 1) -> None:
        """A turn of this message runs, for all the broker knows."""
        self._leased = (self._message(message, body), attempt)

    async def until(self, holds: Callable[[], Any], timeout: float = 20.0) -> Any:
        """What `holds` gives as soon as it is true. Raises TimeoutError with what there was."""
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(holds)
                return holds()
        except TimeoutError:
            states = [state["state"] for state in self.states]
            rows = [(row.kind, str(row.data)[:200]) for row in self.rows[-20:]]
            raise TimeoutError(f"states {states}, ends {self.ends}, rows {rows}") from None

    async def ended(self, count: int = 1, timeout: float = 20.0) -> TurnEnd:
        """The count-th terminal event."""
        await self.until(lambda: len(self.ends) >= count, timeout)
        return self.ends[count - 1]

    async def state(self, state: str, timeout: float = 20.0) -> dict[str, Any]:
        """Waits until the last state is this one."""
        await self.until(lambda: self.states and self.states[-1]["state"] == state, timeout)
        return self.states[-1]

    async def call(self, method: str, **params: Any) -> Any:
        assert self._peer is not None
        return await self._peer.request(method, params, timeout=30)

    async def export(self, commit: str, have: list[str]) -> tuple[dict[str, Any], bytes]:
        stream = f"s{next(self._ids)}"
        answer = await self.call("export", commit=commit, have=have, stream=stream)
        return answer, b"".join(self.chunks.pop(stream, []))

    def texts(self, kind: str = "text") -> list[str]:
        return [row.data["text"] for row in self.rows if row.kind == kind]

    # -- harness.sock ----------------------------------------------------------

    async def _hello(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        answer = self._welcome(peer, params)
        await self.answers_hellos.wait()
        asyncio.get_running_loop().call_soon(self._grant_next)
        return answer

    def _welcome(self, peer: Peer, params: dict[str, Any]) -> dict[str, Any]:
        hello = Hello.model_validate(params)
        self.hellos.append(hello)
        if self._peer is not None and self._peer is not peer:
            self._peer.close()
        self._peer = peer
        for end in hello.ended:
            self._close_turn(end)
        answer: dict[str, Any] = {
            "name": self.name,
            "uid": self.uid,
            "acked": self._acked.get(hello.boot, 0),
            "resume": None,
            "confirmed": [end.turn for end in hello.ended],
            "drop": False,
        }
        if hello.running is not None:
            if self.resume and self._leased and _turn(*self._leased) == hello.running.turn:
                answer["resume"] = self._grant(*self._leased)
            else:
                answer["drop"] = True
        elif self._leased is not None and hello.boot != self._boot:
            self._queue.appendleft((self._leased[0], self._leased[1] + 1))
            self._leased = None
        self._boot = hello.boot
        self._tell()
        return answer

    def _stream(self, _: Peer, params: dict[str, Any]) -> dict[str, int]:
        last = self._acked.get(self._boot, 0)
        for raw in params["rows"]:
            row = StreamRow.model_validate(raw)
            if row.n > last:
                self.rows.append(row)
                last = row.n
        self._acked[self._boot] = last
        self._tell()
        return {"acked": last}

    def _state(self, _: Peer, params: dict[str, Any]) -> dict[str, Any]:
        State.model_validate(params)
        self.states.append(params)
        self._tell()
        return {}

    async def _turn_end(self, _: Peer, params: dict[str, Any]) -> dict[str, Any]:
        if self.forgets_ends:
            self.unheard.append(params)
            self._tell()
            await asyncio.Event().wait()
        self._close_turn(TurnEnd.model_validate(params))
        self._tell()
        return {}

    async def _permission(self, _: Peer, params: dict[str, Any]) -> dict[str, Any]:
        self.permissions.append(params)
        self._tell()
        if self.decision is None:
            await asyncio.Event().wait()
        return {"text": "", "by": "ann", **(self.decision or {})}

    def _upkeep(self, *_: object) -> dict[str, Any]:
        self.upkeeps += 1
        self._tell()
        return {"may": self.open}

    def _withdraw(self, _: Peer, params: dict[str, Any]) -> dict[str, Any]:
        self.withdrawn.append(params["key"])
        self._tell()
        return {}

    def _chunk(self, _: Peer, params: dict[str, Any]) -> None:
        self.chunks.setdefault(params["stream"], []).append(base64.b64decode(params["data"]))

    def _close_turn(self, end: TurnEnd) -> None:
        if any(known.turn == end.turn for known in self.ends):
            return
        self.ends.append(end)
        if self._leased is None or _turn(*self._leased) != end.turn:
            return
        message, attempt = self._leased
        self._leased = None
        if end.outcome == "failed" and self.regrant:
            self._queue.appendleft((message, attempt + 1))
        asyncio.get_running_loop().call_soon(self._grant_next)

    def _grant_next(self) -> None:
        if self._leased is None and self._queue and self._peer and not self._peer.closed:
            self._leased = self._queue.popleft()
            self.granted.append(_turn(*self._leased))
            self._peer.notify("grant", self._grant(*self._leased))
            self._tell()

    def _grant(self, message: dict[str, Any], attempt: int) -> dict[str, Any]:
        return {"turn": _turn(message, attempt), "message": message, "unread": len(self._queue)}

    def _closed(self, peer: Peer) -> None:
        if self._peer is peer:
            self._peer = None

    # -- mcp.sock --------------------------------------------------------------

    async def _serve_mcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._mcp.add(writer)
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if "id" in message:
                    task = asyncio.create_task(self._answer(message, writer))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._mcp.discard(writer)
            writer.close()

    async def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        method, params = message["method"], message.get("params") or {}
        if method == "initialize":
            result: dict[str, Any] = {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "hive", "version": "1"},
            }
        elif method == "tools/list":
            schema = {"type": "object", "additionalProperties": True}
            result = {
                "tools": [
                    {"name": tool, "description": tool, "inputSchema": schema}
                    for tool in self.tools
                ]
            }
        elif method == "tools/call":
            result = await self._tool(params)
        else:
            error = {"code": -32601, "message": f"no method {method}"}
            self._write(writer, {"jsonrpc": "2.0", "id": message["id"], "error": error})
            return
        self._write(writer, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async def _tool(self, params: dict[str, Any]) -> dict[str, Any]:
        call, tool = params["_meta"]["hive/call"], params["name"]
        self.asked.append(call)
        if call not in self.stored:
            self.calls.append((call, tool, params.get("arguments") or {}))
            self._tell()
            try:
                text = self.tools[tool](params.get("arguments") or {})
                if asyncio.iscoroutine(text):
                    text = await text
                self.stored[call] = {"content": [{"type": "text", "text": text}]}
            except ToolError as error:
                content = [{"type": "text", "text": str(error)}]
                self.stored[call] = {"content": content, "isError": True}
        self._tell()
        return self.stored[call]

    def _write(self, writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
        if not writer.is_closing():
            writer.write(json.dumps(message).encode() + b"\n")

    # -- inside ----------------------------------------------------------------

    def _tell(self) -> None:
        async def tell() -> None:
            async with self._changed:
                self._changed.notify_all()

        task = asyncio.ensure_future(tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _turn(message: dict[str, Any], attempt: int) -> str:
    return f"{message['id']}.{attempt}"
