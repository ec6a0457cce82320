"""The engine's MCP traffic, carried between its control channel and mcp.sock.

Nothing is known of the tools here. One relay belongs to one engine process; when the
broker goes and comes back, the relay says the engine's handshake again and repeats what
was not answered. One engine may speak as several clients, whose ids are the same.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hive_wire.frames import MAX_FRAME, FrameError, FrameSplitter, decode, encode

from .calls import CallBook
from .rows import encodable

log = logging.getLogger(__name__)

FIRST_DELAY, LAST_DELAY = 0.02, 0.5  # seconds between attempts to connect
TOO_LARGE = -32600
UNKNOWN_METHOD = -32601
USE = "claudecode/toolUseId"  # in a call's _meta: which use of a tool makes it
NO_REPLY: dict[str, Any] = {"jsonrpc": "2.0", "result": {}}

Message = dict[str, Any]


class _Connection(asyncio.Protocol):
    def __init__(self, take: Callable[[Message], None]) -> None:
        self._take = take
        self._splitter = FrameSplitter()
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for line in self._splitter.feed(data):
                self._take(decode(line))
        except FrameError as error:
            log.warning("mcp.sock: %s", error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def send(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


@dataclass(frozen=True)
class _Asked:
    ident: Any  # as the engine has it
    frame: bytes
    answer: asyncio.Future[Message]


class McpRelay:
    """`serve` answers the engine; `run` keeps the connection. `notify` hears the server."""

    def __init__(
        self,
        path: Path,
        notify: Callable[[Message], None],
        book: Callable[[], CallBook | None],
    ) -> None:
        self._path = path
        self._notify = notify
        self._book = book  # of the turn that runs now
        self._connection: _Connection | None = None
        self._handshake: list[bytes] = []  # initialize and initialized, as the engine said them
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Asked] = {}  # by the id that the broker sees
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._connection.close()
        for asked in self._waiting.values():
            asked.answer.cancel()

    async def serve(self, message: Message) -> Message:
        """The answer to one JSON-RPC message of the engine, however long the broker is away."""
        ident, method = message.get("id"), message.get("method")
        book = self._book()
        call = _name(book, message) if book is not None and method == "tools/call" else None
        if call is not None:
            message = _with_name(message, call)
        if method == "notifications/cancelled":
            message = {**message, "params": self._with_our_id(message.get("params"))}
        ours = None if ident is None else next(self._ids)
        try:
            frame = encode(encodable(message if ours is None else {**message, "id": ours}))
        except FrameError:
            return _too_large(ident)
        if ours is None:
            self._tell(method, frame)
            return NO_REPLY
        if method == "initialize":
            self._handshake = [frame]
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[ours] = _Asked(ident, frame, answer)
        try:
            if self._connection is not None:
                self._connection.send(frame)
            reply = await answer
        finally:
            del self._waiting[ours]
        if call is not None and book is not None:
            book.answered(call)
        return {**reply, "id": ident}

    # -- inside ----------------------------------------------------------------

    def _with_our_id(self, params: Any) -> Message:
        cancelled = dict(params) if isinstance(params, dict) else {}
        theirs = cancelled.get("requestId")
        ours = (n for n, asked in self._waiting.items() if asked.ident == theirs)
        return {**cancelled, "requestId": next(ours, 0)}  # 0: it was answered meanwhile

    def _tell(self, method: Any, frame: bytes) -> None:
        if method == "notifications/initialized":
            self._handshake[1:] = [frame]
        if self._connection is not None:
            self._connection.send(frame)

    async def _run(self) -> None:
        loop, delay = asyncio.get_running_loop(), FIRST_DELAY
        while True:
            try:
                _, connection = await loop.create_unix_connection(
                    lambda: _Connection(self._take), str(self._path)
                )
            except OSError:
                await asyncio.sleep(delay * random.uniform(0.5, 1))
                delay = min(delay * 2, LAST_DELAY)
                continue
            delay = FIRST_DELAY
            self._catch_up(connection)
            try:
                await connection.lost.wait()
            finally:
                self._connection = None
                connection.close()
            await asyncio.sleep(FIRST_DELAY)

    def _catch_up(self, connection: _Connection) -> None:
        """Bring a new connection to where the engine is."""
        frames = [asked.frame for asked in self._waiting.values()]
        for frame in (*self._handshake, *(f for f in frames if f not in self._handshake)):
            connection.send(frame)
        self._connection = connection

    def _take(self, message: Message) -> None:
        ident = message.get("id")
        if "method" not in message:
            waiting = self._waiting.get(ident) if isinstance(ident, int) else None
            if waiting is not None and not waiting.answer.done():
                waiting.answer.set_result(message)
        elif ident is None:
            self._notify(message)
        elif self._connection is not None:
            error = {"code": UNKNOWN_METHOD, "message": "the engine answers no requests"}
            self._connection.send(encode({"jsonrpc": "2.0", "id": ident, "error": error}))


def _name(book: CallBook, message: Message) -> str | None:
    params = message.get("params")
    if not isinstance(params, dict):
        return None
    meta = params.get("_meta")
    use = meta.get(USE) if isinstance(meta, dict) else None
    named = str(params.get("name")), params.get("arguments")
    return book.name(*named, use if isinstance(use, str) else "")


def _with_name(message: Message, call: str) -> Message:
    params = message["params"]
    meta = params.get("_meta")
    named = {**(meta if isinstance(meta, dict) else {}), "hive/call": call}
    return {**message, "params": {**params, "_meta": named}}


def _too_large(ident: Any) -> Message:
    text = (
        f"This call is larger than {MAX_FRAME >> 10} KiB, the limit of one message. "
        "Nothing was sent. Write it to a file, or send less."
    )
    if ident is None:
        return NO_REPLY
    result = {"content": [{"type": "text", "text": text}], "isError": True}
    return {"jsonrpc": "2.0", "id": ident, "result": result}
