"""JSON-RPC 2.0 over newline-delimited frames on a unix socket; both ends may call.

A malformed frame gets an error and closes that connection only. A peer that does
not read is dropped once `MAX_UNSENT` bytes wait for it: it reconnects and resumes
by id. Requests of one connection start in the order they came. A handler returns its
result, a coroutine (cancelled when the connection ends), a future (which goes on), or
the `Answer` that it got from the peer and that somebody gives later. Whoever says too
much too fast is read from more slowly (`pace`).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from .frames import FrameError, FrameSplitter, decode, encode
from .rpc_errors import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    PeerGone,
    RpcError,
)

log = logging.getLogger(__name__)

MAX_UNSENT = 8 << 20
MAX_IN_FLIGHT = 256
LAST_WORDS = 5.0  # seconds that the other end has to read what was said before a close

Params = dict[str, Any]
Handler = Callable[["Peer", Params], Any]
Handlers = Mapping[str, Handler]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end, as the kernel says (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


UNKNOWN = Caller(-1, -1, -1)


class Answer:
    """The answer to one request, to be given once: the shortest way, without a task."""

    __slots__ = ("_ident", "_method", "_peer")

    def __init__(self, peer: Peer, ident: Any, method: str) -> None:
        self._peer = peer
        self._ident = ident
        self._method = method

    def give(self, result: Any) -> None:
        self._peer.answered(self._ident, result)

    def fail(self, error: BaseException) -> None:
        self._peer.failed(self._ident, self._method, error)


class Peer(asyncio.Protocol):
    """One connection. `context` is for whoever owns it (an agent's uid, a session).

    A broker has thousands of them at rest: one that says nothing has nothing of its own.
    `caller` is known from the first that the other end says.
    """

    __slots__ = (
        *("_asked", "_gone", "_handlers", "_in_flight", "_last_id", "_max_unsent", "_on_close"),
        *("_out", "_pace", "_paused", "_resting", "_splitter", "_tasks", "_transport", "_waiting"),
        *("caller", "closed", "context"),
    )

    def __init__(
        self,
        handlers: Handlers,
        *,
        context: Any = None,
        on_close: Callable[[Peer], None] | None = None,
        max_unsent: int = MAX_UNSENT,
        pace: Callable[[int], float] | None = None,
    ) -> None:
        """`pace` is told of each so many frames, and says for how many seconds no more are read."""
        self.context = context
        self.closed = False
        self.caller = UNKNOWN
        self._handlers = handlers
        self._on_close = on_close
        self._max_unsent = max_unsent
        self._pace = pace
        self._resting: asyncio.TimerHandle | None = None
        self._splitter: FrameSplitter | None = None
        self._transport: asyncio.Transport | None = None
        self._gone: asyncio.Event | None = None  # while somebody waits for the end
        self._paused: asyncio.Event | None = None  # while the other end does not read
        self._waiting: dict[int, asyncio.Future[Any]] | None = None
        self._last_id = 0
        self._tasks: dict[asyncio.Task[None], None] | None = None
        self._in_flight = 0
        self._out: list[bytes] | None = None
        self._asked: tuple[Any, str] = (None, "")  # the request that is being handled

    # -- calling the other end -------------------------------------------------

    async def request(
        self, method: str, params: Params | None = None, *, timeout: float | None = None
    ) -> Any:
        """The other end's result.

        Raises RpcError with its error, PeerGone when the connection ends first,
        TimeoutError after `timeout` seconds.
        """
        if self.closed or self._transport is None:
            raise PeerGone(method)
        ident = self._last_id = self._last_id + 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = self._waiting = {} if self._waiting is None else self._waiting
        waiting[ident] = answer
        try:
            self._send({"jsonrpc": "2.0", "id": ident, "method": method, "params": params or {}})
            async with asyncio.timeout(timeout):
                return await answer
        finally:
            waiting.pop(ident, None)

    def notify(self, method: str, params: Params | None = None) -> None:
        """Tell the other end, without an answer. Does nothing once closed."""
        self._send({"jsonrpc": "2.0", "method": method, "params": params or {}})

    def answer(self) -> Answer:
        """The answer to the request that is being handled; the handler returns it, too."""
        return Answer(self, *self._asked)

    def close(self) -> None:
        """Flush what is queued, then close; at once when nobody reads it."""
        self._flush()
        if self._transport is None or self.closed:
            return
        self._transport.close()
        if self._transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(LAST_WORDS, self.drop)

    def drop(self) -> None:
        """Close at once; what is queued is lost."""
        if self._transport is not None and not self.closed:
            self._transport.abort()

    async def drained(self) -> None:
        """Returns when the other end has read enough for more to be sent."""
        self._flush()
        while self._paused is not None:
            await self._paused.wait()
            self._flush()

    async def gone(self) -> None:
        """Returns when the connection has ended."""
        if not self.closed:
            self._gone = asyncio.Event() if self._gone is None else self._gone
            await self._gone.wait()

    # -- asyncio.Protocol ------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if self._pace is not None:
            self._rest(self._pace(0))

    def pause_writing(self) -> None:
        self._paused = asyncio.Event()

    def resume_writing(self) -> None:
        if self._paused is not None:
            self._paused.set()
            self._paused = None

    def data_received(self, data: bytes) -> None:
        if self.closed or self._transport is None:
            return
        if self._splitter is None:
            self._splitter = FrameSplitter()
            self.caller = _caller(self._transport.get_extra_info("socket"))
        try:
            lines = self._splitter.feed(data)
            for line in lines:
                self._receive(decode(line))
        except FrameError as error:
            self._send(_error_frame(None, RpcError(PARSE_ERROR, str(error))))
            self.close()
            return
        if self._pace is not None:
            self._rest(self._pace(len(lines)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._gone is not None:
            self._gone.set()
        self.resume_writing()
        if self._resting is not None:
            self._resting.cancel()
        for answer in (self._waiting or {}).values():
            if not answer.done():
                answer.set_exception(PeerGone("the request"))
        for task in self._tasks or ():
            task.cancel()
        if self._on_close is not None:
            self._on_close(self)

    # -- inside ----------------------------------------------------------------

    def _receive(self, message: dict[str, Any]) -> None:
        ident = message.get("id")
        if "method" not in message:
            self._receive_answer(ident, message)
            return
        method, params = message["method"], message.get("params", {})
        if not isinstance(method, str) or not isinstance(params, dict):
            self._reply_error(
                ident, RpcError(INVALID_REQUEST, "method is a string, params an object")
            )
            return
        handler = self._handlers.get(method)
        if handler is None:
            self._reply_error(
                ident, RpcError(METHOD_NOT_FOUND, f"there is no method {method[:80]!r}")
            )
            return
        self._asked = (ident, method)
        try:
            result = handler(self, params)
        except Exception as error:  # noqa: BLE001 - every handler error becomes an answer
            self._reply_error(ident, _as_rpc_error(method, error))
            return
        if isinstance(result, Answer):
            self._begun()
        elif asyncio.isfuture(result):
            self._begun()
            result.add_done_callback(functools.partial(self._ended, ident, method))
        elif inspect.isawaitable(result):
            self._start(ident, method, result)
        elif ident is not None:
            self._send({"jsonrpc": "2.0", "id": ident, "result": result})

    def _receive_answer(self, ident: Any, message: dict[str, Any]) -> None:
        waiting = self._waiting or {}
        answer = waiting.get(ident) if isinstance(ident, int) else None
        if answer is None or answer.done():
            return  # an answer that nobody waits for any more
        error = message.get("error")
        if error is None:
            answer.set_result(message.get("result"))
        elif isinstance(error, dict) and isinstance(error.get("code"), int):
            text = str(error.get("message", ""))
            answer.set_exception(RpcError(error["code"], text, error.get("data")))
        else:
            answer.set_exception(RpcError(INTERNAL_ERROR, "the other end sent a malformed error"))

    def _start(self, ident: Any, method: str, result: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(self._finish(ident, method, result))
        tasks = self._tasks = {} if self._tasks is None else self._tasks
        tasks[task] = None
        task.add_done_callback(tasks.pop)
        task.add_done_callback(self._unthrottle)
        self._begun()

    def _begun(self) -> None:
        self._in_flight += 1
        if self._in_flight == MAX_IN_FLIGHT and self._transport is not None:
            self._transport.pause_reading()

    def _unthrottle(self, _done: object = None) -> None:
        self._in_flight -= 1
        if self._in_flight == MAX_IN_FLIGHT // 2 and self._resting is None:
            self._read_on()

    def _rest(self, seconds: float) -> None:
        if not seconds or self._transport is None or self._transport.is_closing():
            return
        self._transport.pause_reading()
        if self._resting is not None:
            self._resting.cancel()
        self._resting = asyncio.get_running_loop().call_later(seconds, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if self._in_flight < MAX_IN_FLIGHT:
            self._read_on()

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _ended(self, ident: Any, method: str, done: asyncio.Future[Any]) -> None:
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self.answered(ident, done.result())
        else:
            self.failed(ident, method, error)

    def answered(self, ident: Any, result: Any) -> None:
        """For `Answer`."""
        self._unthrottle()
        if ident is not None:
            self._send({"jsonrpc": "2.0", "id": ident, "result": result})

    def failed(self, ident: Any, method: str, error: BaseException) -> None:
        """For `Answer`."""
        self._unthrottle()
        self._reply_error(ident, _as_rpc_error(method, error))

    async def _finish(self, ident: Any, method: str, result: Awaitable[Any]) -> None:
        try:
            value = await result
        except Exception as error:  # noqa: BLE001 - every handler error becomes an answer
            self._reply_error(ident, _as_rpc_error(method, error))
            return
        if ident is not None:
            self._send({"jsonrpc": "2.0", "id": ident, "result": value})

    def _reply_error(self, ident: Any, error: RpcError) -> None:
        if ident is not None:
            self._send(_error_frame(ident, error))

    def _send(self, message: dict[str, Any]) -> None:
        """Queue one frame; all frames of one loop turn leave in one write."""
        if self.closed or self._transport is None:
            return
        try:
            frame = encode(message)
        except FrameError as error:
            if "method" in message:
                raise
            frame = encode(_error_frame(message.get("id"), RpcError(INTERNAL_ERROR, str(error))))
        if self._out is None:
            self._out = [frame]
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._out.append(frame)

    def _flush(self) -> None:
        if self._out is None or self._transport is None:
            return
        data, self._out = b"".join(self._out), None
        if self.closed:
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > self._max_unsent:
            log.warning("a peer on %s does not read: dropped", self.caller)
            self._transport.abort()


def _caller(sock: socket.socket | None) -> Caller:
    if sock is None or sock.family != socket.AF_UNIX:
        return UNKNOWN
    size = struct.calcsize("3i")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return Caller(*struct.unpack("3i", credentials))


def _error_frame(ident: Any, error: RpcError) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": ident, "error": error.as_json()}


def _as_rpc_error(method: str, error: BaseException) -> RpcError:
    if isinstance(error, RpcError):
        return error
    log.error("%s failed", method, exc_info=error)
    return RpcError(INTERNAL_ERROR, f"{method} failed inside; the log of the process has the cause")
