"""mcp.sock: connections of whatever speaks MCP in the container."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from typing import Any

import orjson

from hive_wire.frames import MAX_FRAME
from hive_wire.protocol import MAX_BODY

from .lines import Lines, TooLong
from .toolbox import Toolbox

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 16  # of one agent
READ_BYTES = 1 << 16
STALLED = 10.0  # seconds without reading, then a client is dropped


class McpDoor:
    """Serves one agent's mcp.sock. `spend`: as `core.limits.Pace`."""

    def __init__(self, toolbox: Toolbox, spend: Callable[[int], float]) -> None:
        self._toolbox = toolbox
        self._spend = spend
        self._sessions: set[asyncio.Task[None]] = set()

    def protocol(self) -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(limit=READ_BYTES)
        return asyncio.StreamReaderProtocol(reader, self._connected)

    async def close(self) -> None:
        """End every session."""
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._sessions) >= MOST_CONNECTIONS:
            writer.write(_TOO_MANY)
            writer.close()
            return
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)
        try:
            await Connection(self._toolbox, reader, writer, self._spend).serve()
            await _closed(writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            return
        except Exception:
            log.exception("an MCP session failed")
        finally:
            writer.transport.abort()


class Connection:
    def __init__(
        self,
        toolbox: Toolbox,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        spend: Callable[[int], float],
    ) -> None:
        self._toolbox = toolbox
        self._reader = reader
        self._writer = writer
        self._spend = spend
        self._splitter = Lines()

    async def serve(self) -> None:
        session: Any = await asyncio.to_thread(
            importlib.import_module, f"{__package__}.mcp_session"
        )
        await session.serve(self._toolbox, self._lines, self._write)

    async def _lines(self) -> list[bytes] | None:
        """Complete lines, or None at the end. Too long ones are answered here. Nothing is read
        from who speaks too much, or does not read the answers."""
        while data := await self._read():
            found = []
            for line in self._splitter.feed(data):
                if isinstance(line, TooLong):
                    await self._write(_too_long(line))
                else:
                    found.append(line)
            self._spend(len(found))
            if found:
                return found
        return None

    async def _read(self) -> bytes:
        try:
            await asyncio.sleep(self._spend(0))
            await self._writer.drain()
            return await self._reader.read(READ_BYTES)
        except ConnectionError:
            return b""

    async def _write(self, message: bytes) -> None:
        """Send one message; nothing happens when the client is gone. One that does not read is
        dropped."""
        if self._writer.is_closing():
            return
        try:
            async with asyncio.timeout(STALLED):
                self._writer.write(message + b"\n")
                await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()
        except ConnectionError:
            return


_TOO_MANY = (
    b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":'
    b'"%d connections to this socket are open already; close one of them"}}\n' % MOST_CONNECTIONS
)


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Raises TimeoutError when the client does not read what is left."""
    writer.close()
    async with asyncio.timeout(STALLED):
        await writer.wait_closed()


def _too_long(line: TooLong) -> bytes:
    """An answer where the caller looks: a tool's error, if the request can be told."""
    words = (
        f"that call has {line.size} bytes, a line may have {MAX_FRAME} and a message body "
        f"{MAX_BODY}; write a summary, or put the rest into a file and say where"
    )
    ident = line.request_id()
    if ident is None:
        error = {"code": -32600, "message": words}
        return orjson.dumps({"jsonrpc": "2.0", "id": None, "error": error})
    result = {"content": [{"type": "text", "text": words}], "isError": True}
    return orjson.dumps({"jsonrpc": "2.0", "id": ident, "result": result})
