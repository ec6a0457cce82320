"""mcp.sock: connections of whatever speaks MCP in the container."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from typing import Any

import orjson

from hive_wire.frames import MAX_FRAME
from hive_wire.protocol import MAX_BODY

from .lines import Lines, TooLong
from .toolbox import Toolbox

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 16  # of one agent
READ_BYTES = 1 << 16


class McpDoor:
    """Serves one agent's mcp.sock."""

    def __init__(self, toolbox: Toolbox) -> None:
        self._toolbox = toolbox
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
            log.warning("an agent has %d MCP connections: one more refused", MOST_CONNECTIONS)
            writer.close()
            return
        self._sessions.add(task)
        task.add_done_callback(self._sessions.discard)
        try:
            await Connection(self._toolbox, reader, writer).serve()
        except (OSError, asyncio.CancelledError):
            return
        except Exception:
            log.exception("an MCP session failed")
        finally:
            writer.close()


class Connection:
    def __init__(
        self, toolbox: Toolbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._toolbox = toolbox
        self._reader = reader
        self._writer = writer
        self._splitter = Lines()

    async def serve(self) -> None:
        session: Any = await asyncio.to_thread(
            importlib.import_module, f"{__package__}.mcp_session"
        )
        await session.serve(self._toolbox, self._lines, self._write)

    async def _lines(self) -> list[bytes] | None:
        """Complete lines, or None at the end. Too long ones are answered here."""
        while data := await self._reader.read(READ_BYTES):
            found = []
            for line in self._splitter.feed(data):
                if isinstance(line, TooLong):
                    await self._write(_too_long(line))
                else:
                    found.append(line)
            if found:
                return found
        return None

    async def _write(self, message: bytes) -> None:
        """Send one message; nothing happens when the client is gone."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(message + b"\n")
            await self._writer.drain()


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
