"""What all handlers share: the parts of the process, the view of a request, its answers."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson
from aiohttp import web

from ..auth.service import Auth
from ..auth.sessions import Browser, Session
from ..html import BASE, Element, Kept, tree
from ..live.backends import Backend
from ..live.hub import Hub
from ..live.mirror import Mirror
from ..live.sse import Streams
from ..pages.common import Notice, View
from ..pages.shelf import Shelf
from ..settings import Settings
from .guard import JSON
from .peers import Peers
from .ports import AgentPorts
from .static import Assets

KEPT_NOTICES = 5


@dataclass
class Site:
    settings: Settings
    assets: Assets
    auth: Auth
    hub: Hub
    mirror: Mirror
    host: Backend
    broker: Backend
    streams: Streams
    ports: AgentPorts
    shelf: Shelf = field(default_factory=Shelf)
    peers: Peers = field(default_factory=Peers)
    port: int = 0  # of the swarm's page
    scrape_token: str = ""  # opens /metrics, and nothing else
    flash: dict[str, deque[Notice]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=KEPT_NOTICES))
    )

    _packed: dict[tuple[object, ...], Packed] = field(default_factory=dict)
    _packed_version: int = -1

    def packed(
        self, view: View, page: str, build: Callable[[], Mapping[str, Element | Kept]]
    ) -> Packed:
        """The sections of a page, drawn once for everybody who sees the same."""
        version = view.snapshot.version
        if self._packed_version != version:
            self._packed, self._packed_version = {}, version
        key = (page, view.user, view.view_only)
        if key not in self._packed:
            self._packed[key] = pack(build())
        return self._packed[key]

    async def browser(self, request: web.Request) -> Browser:
        """Which one asks."""
        says = request.headers.get("User-Agent", "")
        return Browser(says, await self.peers.user(request.transport))

    def session(self) -> Session:
        """Of the request that is being answered; the gate lets no other in."""
        session = SESSION.get()
        assert session is not None
        return session

    def view(self, *extra: Notice, **more: Any) -> View:
        """What a page is drawn from; takes the notices that wait for this session."""
        session = self.session()
        waiting = self.flash.pop(session.id, deque())
        return View(
            self.mirror.snapshot,
            session.user,
            session.view_only,
            (*waiting, *extra),
            shelf=self.shelf,
            **more,
        )


SITE = web.AppKey("site", Site)
SESSION: ContextVar[Session | None] = ContextVar("session", default=None)  # of this request


def see(path: str) -> web.HTTPSeeOther:
    """A redirect to a page of ours."""
    return web.HTTPSeeOther(BASE.get() + path)


def set_session(request: web.Request, response: web.StreamResponse, secret: str) -> None:
    settings = request.app[SITE].settings
    response.set_cookie(
        settings.cookie,
        secret,
        httponly=True,
        samesite="Strict",
        path=f"{settings.base}/",
        secure=_is_tls(request),
    )


def _is_tls(request: web.Request) -> bool:
    """Whether the browser speaks TLS, with a proxy in front of us."""
    return request.headers.get("Origin", "").startswith("https:") or (
        request.headers.get("X-Forwarded-Proto") == "https"
    )


def port_of(request: web.Request) -> int:
    """The port of ours that the request came in at."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return int(name[1]) if isinstance(name, tuple) else 0


def wants_json(request: web.Request) -> bool:
    if request.path.startswith("/api/"):
        return True
    return JSON in request.headers.get("Accept", "")


def page(text: str, status: int = 200) -> web.Response:
    response = web.Response(text=text, status=status, content_type="text/html")
    if len(text) > 2048:
        response.enable_compression()
    return response


def json(data: Any, status: int = 200) -> web.Response:
    response = web.Response(body=orjson.dumps(data), status=status, content_type=JSON)
    if isinstance(response.body, bytes) and len(response.body) > 2048:
        response.enable_compression()
    return response


Packed = dict[str, tuple[str, orjson.Fragment]]


def pack(built: Mapping[str, Element | Kept]) -> Packed:
    """Sections as scripts get them: a digest and the tree as JSON."""
    packed: Packed = {}
    for name, element in built.items():
        data = orjson.dumps(tree(element))
        packed[name] = (blake2b(data, digest_size=6).hexdigest(), orjson.Fragment(data))
    return packed


def differing(packed: Packed, have: str) -> Packed:
    """The sections that differ from those that the script has (`name:digest,…`)."""
    known = dict(pair.split(":", 1) for pair in have.split(",") if ":" in pair)
    return {name: part for name, part in packed.items() if known.get(name) != part[0]}
