"""The gateway put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

from hive_wire.jsonrpc import Peer
from hive_wire.lock import alone
from hive_wire.paths import Layout
from hive_wire.sockets import listen

from .config import Config
from .control import Control
from .relay import Relay
from .reporter import Reporter
from .sockets import AgentSockets

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def running(layout: Layout, environ: Mapping[str, str]) -> AsyncIterator[None]:
    """A gateway that serves while the context lasts.

    Raises OSError when it cannot make its directory or bind its socket, Taken when another
    serves this root, and UnsafeDirectory when the runtime directory is somebody else's.
    """
    layout.gateway.mkdir(mode=0o700, parents=True, exist_ok=True)
    layout.make_run()
    # A second one would take the agents' sockets from the first, and write over its ledger.
    with alone(layout.gateway, "gateway", layout.root):
        async with _serving(layout, environ):
            yield


@contextlib.asynccontextmanager
async def _serving(layout: Layout, environ: Mapping[str, str]) -> AsyncIterator[None]:
    config = Config(layout.root, environ)
    reporter = Reporter(layout.gateway / "usage.json", layout.broker_sock)
    relay = Relay(config, reporter.add, reporter.limited)
    sockets = AgentSockets(layout, relay.answer)
    control = Control(layout.gateway / "registry.json", config, sockets)
    await reporter.load()
    await control.load()
    reporting = asyncio.create_task(reporter.run())
    listener = await listen(layout.gateway_sock, lambda: Peer(control.handlers))
    try:
        await _say_what_is_missing(config)
        yield
    finally:
        listener.close()
        await sockets.close()
        await relay.close()
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)


async def _say_what_is_missing(config: Config) -> None:
    upstream = await config.current()
    if upstream.problem is not None:
        log.warning("%s", upstream.problem)
