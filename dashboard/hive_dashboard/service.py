"""The process: its parts put together, started and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import AsyncIterator

from aiohttp import web

from hive_wire.jsonrpc import Params, Peer
from hive_wire.lock import alone
from hive_wire.sockets import listen

from .acts.table import ACTIONS
from .auth import desk
from .auth.service import Auth
from .auth.sessions import new_secret
from .auth.store import Store
from .html import BASE, Json, tree
from .live.backends import Backend
from .live.hub import Hub
from .live.mirror import BROKER_PARTS, HOST_PARTS, Mirror, Snapshot
from .live.models import Event
from .live.sse import Streams
from .live.tools import Tools
from .pages.rows import row
from .settings import Settings
from .web import api, forms, lists, views
from .web.gate import gate
from .web.guard import MAX_REQUEST
from .web.ports import AgentPorts
from .web.site import SITE, Site
from .web.static import Assets

log = logging.getLogger(__name__)


class CannotStart(Exception):
    """Why the dashboard cannot serve, and what to do."""


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Site]:
    """Serves pages and dashboard.sock inside the block. Raises CannotStart, Taken,
    StoreError."""
    layout = settings.layout
    layout.dashboard.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A second one would take the first one's dashboard.sock away.
    with alone(layout.dashboard, "dashboard", layout.root):
        async with _served(settings) as site:
            yield site


@contextlib.asynccontextmanager
async def _served(settings: Settings) -> AsyncIterator[Site]:
    BASE.set(settings.base)  # for the rows that are drawn where they are heard, too
    site = _assemble(settings, await asyncio.to_thread(Assets))
    runner = web.AppRunner(
        _routes(site),
        access_log=None,
        shutdown_timeout=1.0,
        handler_cancellation=True,  # a closed tab ends its stream at once
    )
    await site.auth.start()
    tasks: list[asyncio.Task[None]] = []
    server: asyncio.Server | None = None
    try:
        await runner.setup()
        site.port = await _bind(runner, settings)
        settings.layout.make_run()
        system = not settings.layout.tag
        methods = desk.handlers(site.auth, lambda: f"{address(site)}/login", system=system)
        server = await listen(settings.layout.dashboard_sock, lambda: Peer(methods), mode=0o600)
        if system and not desk.give_to_operators(settings.layout.dashboard_sock):
            log.warning("there is no group hive that we belong to: only root gets login links")
        await asyncio.to_thread(_store_port, settings, site.port)
        site.scrape_token = await asyncio.to_thread(_scrape_token, settings)
        work = (
            site.ports.run(runner),
            site.host.run(),
            site.broker.run(),
            site.mirror.run(site.host, site.broker),
        )
        tasks = [asyncio.create_task(each) for each in work]
        yield site
    finally:
        site.hub.end_all()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if server is not None:
            server.close()
            settings.layout.dashboard_sock.unlink(missing_ok=True)
        await runner.cleanup()
        await site.auth.stop()


def address(site: Site) -> str:
    """Where a browser on this machine finds the pages."""
    host = site.settings.host
    if host in ("0.0.0.0", "::", ""):
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{site.port}"


def _assemble(settings: Settings, assets: Assets) -> Site:
    def changed(snapshot: Snapshot) -> None:
        if settings.agent_ports and snapshot.status is not None:
            ports.want({a.name: a.web_port for a in snapshot.status.agents if a.web_port})
        hub.changed(snapshot.version)

    tools = Tools()

    def render(event: Event, rich: bool) -> Json:
        return tree(row(event, rich=rich, tools=tools))

    def heard(events: list[Event]) -> None:
        tools.add(events)
        asyncio.get_running_loop().call_soon(mirror.heard, events)  # after who waits for the rows

    def host_changed(_peer: Peer, params: Params) -> None:
        parts = {"agents": ("status",), "proposals": ("open", "closed")}
        mirror.stale(*parts.get(str(params.get("what")), HOST_PARTS))

    async def greet_host(peer: Peer) -> None:
        await peer.request("subscribe", timeout=10)
        mirror.stale(*HOST_PARTS)

    async def greet_broker(peer: Peer) -> None:
        await hub.greet(peer)
        mirror.stale(*BROKER_PARTS)

    layout = settings.layout
    mirror = Mirror(layout.root, changed)
    ports = AgentPorts(settings.host, mirror.ports)
    hub = Hub(heard)
    host = Backend(
        "reconciler", layout.host_sock, {"changed": host_changed}, greet_host, mirror.turned
    )
    broker = Backend(
        "broker", layout.broker_sock, {"events": hub.heard}, greet_broker, mirror.turned
    )
    auth = Auth(Store(layout.dashboard), hub.end_session, mirror.login_failed)
    streams = Streams(hub, broker, render, auth.alive)
    return Site(settings, assets, auth, hub, mirror, host, broker, streams, ports)


def _routes(site: Site) -> web.Application:
    app = web.Application(middlewares=[gate], client_max_size=MAX_REQUEST)
    app[SITE] = site
    get, post = app.router.add_get, app.router.add_post
    n, name = "{n:[1-9][0-9]{0,8}}", "{name:[a-z][a-z0-9-]{0,8}}"

    def place(path: str) -> str:
        return path.replace("{n}", n).replace("{name}", name)

    get("/", views.swarm_page)
    get("/swarm", views.swarm_page)
    get("/messages", lists.messages)
    get("/questions", lists.questions)
    get("/dead", lists.dead)
    get("/audit", lists.audit)
    get("/plan", views.plan)
    get(f"/a/{name}/journal", views.journal)
    get(f"/a/{name}/log.txt", views.log_text)
    get(f"/a/{name}/row/{{n:[1-9][0-9]{{0,14}}}}", views.one_row)
    get("/events", views.events, allow_head=False)
    get("/api/swarm", views.swarm_state)
    get("/api/session", views.who)
    get(f"/api/agent/{name}", views.agent_state)
    get(f"/api/agent/{name}/history", views.agent_history)
    get(f"/a/{name}/", views.agent_page)
    get(f"/proposals/{n}", views.one_proposal)
    get(f"/proposals/{n}/whole", views.whole_proposal)
    get("/sessions", views.session_list)
    get("/login", forms.login_form)
    get("/s/{version}/{name}", site.assets.serve)
    post("/login", forms.login)
    post("/logout", forms.logout)
    post("/sessions/end", forms.end_session)
    for action in ACTIONS:
        post(place(action.path), forms.action(action))
    app.router.add_routes(api.routes(place))
    return app


async def _bind(runner: web.AppRunner, settings: Settings) -> int:
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"port {settings.port} of {settings.host} is taken by another process; stop that "
                "one, or take another port with --port (0 takes a free one)"
            ) from None
        raise CannotStart(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}"
        ) from None
    return int(runner.addresses[0][1])


def _store_port(settings: Settings, port: int) -> None:
    path = settings.layout.dashboard / "port"
    beside = path.with_name("port.new")
    beside.write_text(f"{port}\n")
    os.replace(beside, path)


def _scrape_token(settings: Settings) -> str:
    """What lets a scraper read /metrics; made once."""
    path = settings.layout.dashboard / "metrics-token"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        token = new_secret()
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"{token}\n")
        return token
