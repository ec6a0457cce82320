"""Both ends of a unix socket that speaks JSON-RPC."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .jsonrpc import Handlers, Peer


async def connect(
    path: Path,
    handlers: Handlers | None = None,
    *,
    context: Any = None,
    on_close: Callable[[Peer], None] | None = None,
) -> Peer:
    """A connection to the server at `path`. Raises OSError when nobody listens."""
    _, peer = await asyncio.get_running_loop().create_unix_connection(
        lambda: Peer(handlers or {}, context=context, on_close=on_close), str(path)
    )
    return peer


async def listen(
    path: Path, make_peer: Callable[[], asyncio.BaseProtocol], *, mode: int = 0o666
) -> asyncio.Server:
    """Serve at `path`, taking the place of whatever was there.

    Bound beside it and renamed over it: clients never find the name missing.
    """
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.bind(str(beside))
        os.chmod(beside, mode)
        server = await asyncio.get_running_loop().create_unix_server(
            make_peer, sock=sock, backlog=1024
        )
        os.rename(beside, path)
    except BaseException:
        sock.close()
        raise
    return server
