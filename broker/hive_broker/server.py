"""The whole broker of one root, from open to close."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hive_wire.jsonrpc import Handlers, Peer
from hive_wire.lock import alone
from hive_wire.paths import Layout
from hive_wire.sockets import listen

from .core.clock import Clock
from .front.doors import Doors
from .front.host_api import HostApi
from .service.app import App
from .service.broker import Broker

GATEWAY_USER, ASK_GROUP = "hive-gateway", "hive-ask"


@asynccontextmanager
async def serving(layout: Layout, clock: Clock | None = None) -> AsyncIterator[App]:
    """Serves the root while entered. Raises Taken, DatabaseRefused, OSError."""
    layout.broker.mkdir(mode=0o700, parents=True, exist_ok=True)
    if layout.tag:
        layout.make_run()
    with alone(layout.broker, "broker", layout.root):  # two writers would harm the database
        broker = await Broker.open(layout.broker / "broker.db", clock or Clock())
        app = App(broker, layout.requests_sock)
        doors = Doors(app, layout)
        peers = _Peers()
        server = None
        requests = asyncio.create_task(app.requests.run())
        try:
            await doors.settle()
            api = HostApi(app, doors.settle, only_reports=_gateway(layout)).handlers()
            server = await listen(layout.broker_sock, lambda: peers.new(api), mode=0o660)
            _give_to_group(layout)
            app.health.begin()
            await app.snapshot.drop()  # of a broker that was killed meanwhile: it may be large
            await app.retention.begin()
            yield app
        finally:
            app.health.close()
            if server is not None:
                server.close()
                layout.broker_sock.unlink(missing_ok=True)
            requests.cancel()
            await asyncio.gather(requests, return_exceptions=True)
            peers.close()
            await doors.close()
            for agent in broker.agents.values():
                if agent.peer is not None:
                    agent.peer.close()
            await broker.close()


class _Peers:
    """The connections of broker.sock."""

    def __init__(self) -> None:
        self._open: set[Peer] = set()
        self._closed = self._open.discard  # one for all of them

    def new(self, handlers: Handlers) -> Peer:
        peer = Peer(handlers, on_close=self._closed)
        self._open.add(peer)
        return peer

    def close(self) -> None:
        for peer in list(self._open):
            peer.close()


def _gateway(layout: Layout) -> int | None:
    """The user of the system service's gateway, which asks for one thing only."""
    try:
        return None if layout.tag else pwd.getpwnam(GATEWAY_USER).pw_uid
    except KeyError:
        return None


def _give_to_group(layout: Layout) -> None:
    """The system service's broker.sock is for the processes and people of one group."""
    if not layout.tag:
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(layout.broker_sock, -1, grp.getgrnam(ASK_GROUP).gr_gid)
