"""What GET answers. None of it changes anything."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from hive_wire.rpc_errors import NOT_FOUND, RpcError

from ..html import tree
from ..live.backends import Backend
from ..live.mirror import read_proposal
from ..live.models import Event
from ..live.reading import NEWEST
from ..live.whole import PARTS, part_page
from ..pages import agent as agent_pages
from ..pages import looks, swarm
from ..pages.agents import AgentView, NotRead
from ..pages.agents import agent as find_agent
from ..pages.common import Notice, View, icon_name
from ..pages.need import count
from ..pages.plain import proposal_page, sessions_page
from ..pages.whole import whole_page
from .guard import Refused
from .site import SITE, Packed, Site, differing, json, page, port_of, see

LONGEST_QUERY = 200  # characters
SAVED = 20_000  # rows of a saved log
SAVED_SIZE = 32 << 20  # characters of it
HISTORY = 200  # rows of an agent's log at first, and with each step back


async def swarm_page(request: web.Request) -> web.Response:
    site = request.app[SITE]
    agent = site.ports.agent_at(port_of(request))
    if agent is not None and request.path == "/":
        raise see(f"/a/{agent}/")
    if agent is None and request.path == "/swarm":
        raise see("/")
    return show_swarm(site, site.view())


def show_swarm(site: Site, view: View, status: int = 200) -> web.Response:
    return page(swarm.swarm_page(view, site.assets.url, site.hub.last), status)


async def swarm_state(request: web.Request) -> web.Response:
    """The sections of the swarm's page that changed, for its script."""
    site = request.app[SITE]
    session = site.session()
    view = View(site.mirror.snapshot, session.user, session.view_only, shelf=site.shelf)
    packed = site.packed(view, "/", lambda: swarm.sections(view))
    return json(_state(view, differing(packed, request.query.get("have", ""))))


async def agent_page(request: web.Request) -> web.Response:
    site = request.app[SITE]
    view = site.view()
    name, query = request.match_info["name"], request.query.get("q", "").strip()[:LONGEST_QUERY]
    at = number(request, "at")
    it = _agent(view, name)
    if query:
        log = await _search(site, it, query, before_of(request))
    elif at is not None:
        log = replace(await _log(site, it, at + HISTORY // 2), at=at)
    else:
        return await show_agent(site, view, name, before_of(request))
    view = replace(view, page=f"/a/{name}/")
    return page(agent_pages.agent_page(view, it, log, site.assets.url, site.hub.last))


async def show_agent(
    site: Site, view: View, name: str, before: int | None = None, status: int = 200
) -> web.Response:
    """Raises Refused."""
    it = _agent(view, name)
    view = replace(view, page=f"/a/{name}/")
    cursor = site.hub.last
    log = await _log(site, it, before or (cursor + 1 if cursor is not None else NEWEST))
    return page(agent_pages.agent_page(view, it, log, site.assets.url, cursor), status)


async def agent_state(request: web.Request) -> web.Response:
    site = request.app[SITE]
    session = site.session()
    view = View(site.mirror.snapshot, session.user, session.view_only, shelf=site.shelf)
    it = _agent(view, request.match_info["name"])
    view = replace(view, page=f"/a/{it.name}/")
    packed = site.packed(
        view, it.name, lambda: {n: draw(view, it) for n, draw in agent_pages.LIVE.items()}
    )
    state = _state(view, differing(packed, request.query.get("have", "")))
    return json({**state, "title": f"{it.glyph} {it.name} · hyperhive"})


async def agent_history(request: web.Request) -> web.Response:
    """Rows of the log before an id, oldest first, for the script; `cursor` for a new start."""
    site = request.app[SITE]
    view = View(site.mirror.snapshot, "", view_only=True)
    it = _agent(view, request.match_info["name"])
    cursor = site.hub.last
    events = await _history(site, it, before_of(request) or (cursor or 0) + 1)
    if events is None:
        raise Refused(503, "The broker is away: no history to show.")
    rows = await asyncio.to_thread(agent_pages.tail, events)
    return json(
        {
            "rows": [[e.id, tree(row)] for e, row in zip(events, rows, strict=True)],
            "cursor": cursor,
        }
    )


async def _log(site: Site, it: AgentView, before: int) -> agent_pages.Log:
    events = await _history(site, it, before)
    if events is None:
        return agent_pages.Log(away=True)
    rows = await asyncio.to_thread(agent_pages.tail, events)
    return agent_pages.Log(rows, first=events[0].id if events else None, more=bool(events))


async def _search(site: Site, it: AgentView, query: str, before: int | None) -> agent_pages.Log:
    """Raises Refused."""
    given = {"before": before} if before else {}
    found = await ask(
        site.broker, "search_events", agent=it.uid or it.name, query=query, limit=HISTORY, **given
    )
    events = [Event.model_validate(row) for row in found["events"]]
    rows = await asyncio.to_thread(agent_pages.tail, events)
    return agent_pages.Log(
        rows, query=query, first=found.get("cursor"), more=bool(found.get("more"))
    )


async def one_row(request: web.Request) -> web.Response:
    """A row whole, however long."""
    site = request.app[SITE]
    view = site.view()
    it, ident = _agent(view, request.match_info["name"]), int(request.match_info["n"])
    events = await _history(site, it, ident + 1, limit=1)
    if events is None:
        raise Refused(503, "The broker is away: no history to show.")
    if not events or events[0].id != ident:
        raise Refused(404, f"{it.name} has no row {ident}.")
    return page(looks.row_page(view, site.assets.url, it, events[0]))


async def log_text(request: web.Request) -> web.Response:
    """The newest of an agent's log as a file."""
    site = request.app[SITE]
    it = _agent(site.view(), request.match_info["name"])
    before, rows, size, pages = NEWEST, 0, 0, list[str]()
    while rows < SAVED and size < SAVED_SIZE:
        events = await _history(site, it, before, limit=1000)
        if events is None:
            raise Refused(503, "The broker is away: no history to save.")
        if not events:
            break
        pages.append(await asyncio.to_thread(looks.saved, events))
        before, rows, size = events[0].id, rows + len(events), size + len(pages[-1])
    headers = {"Content-Disposition": f'attachment; filename="{it.name}-log.txt"'}
    text = "".join(reversed(pages))
    return web.Response(text=text, content_type="text/plain", charset="utf-8", headers=headers)


async def _history(
    site: Site, it: AgentView, before: int, limit: int = HISTORY
) -> list[Event] | None:
    if it.uid is None:
        return []
    try:
        answer = await site.broker.ask("events", uid=it.uid, before=before, limit=limit)
        return [Event.model_validate(row) for row in answer["events"]]
    except (RpcError, TimeoutError, ValidationError):
        return None


def _agent(view: View, name: str) -> AgentView:
    try:
        it = find_agent(view.snapshot, name)
    except NotRead as error:
        raise Refused(503, str(error)) from None
    if it is None:
        raise Refused(404, f"There is no agent {name[:40]!r}.")
    return it


async def one_proposal(request: web.Request) -> web.Response:
    site = request.app[SITE]
    return await show_proposal(site, site.view(), int(request.match_info["n"]))


async def show_proposal(site: Site, view: View, n: int, status: int = 200) -> web.Response:
    """Raises Refused."""
    try:
        found = await read_proposal(site.host, n)
    except RpcError as error:
        raise Refused(404 if error.code == NOT_FOUND else 503, error.message) from None
    except TimeoutError:
        raise Refused(504, "The reconciler did not answer within 20 s.") from None
    except ValidationError:
        raise Refused(502, "The reconciler's answer was not understood: versions differ?") from None
    view = replace(view, page=f"/proposals/{n}")
    return page(proposal_page(view, site.assets.url, found), status)


async def whole_proposal(request: web.Request) -> web.Response:
    site, n = request.app[SITE], int(request.match_info["n"])
    part = next((part for part in PARTS if part == request.query.get("part")), PARTS[0])
    after = number(request, "after") or 0
    answer = await ask(site.host, "proposal_part", n=n, part=part, after=after)
    return page(whole_page(site.view(), site.assets.url, await part_page(n, part, after, answer)))


async def plan(request: web.Request) -> web.Response:
    site = request.app[SITE]
    return page(looks.plan_page(site.view(), site.assets.url, await ask(site.host, "plan")))


async def journal(request: web.Request) -> web.Response:
    site = request.app[SITE]
    view = site.view()
    it = _agent(view, request.match_info["name"])
    answer = await ask(site.host, "logs", name=it.name, limit=1000)
    return page(looks.journal_page(view, site.assets.url, it, answer["lines"]))


async def ask(backend: Backend, method: str, **params: Any) -> dict[str, Any]:
    """The answer of a process that has to be there for the page. Raises Refused."""
    try:
        answer = await backend.ask(method, **params)
    except RpcError as error:
        raise Refused(404 if error.code == NOT_FOUND else 503, error.message) from None
    except TimeoutError:
        raise Refused(504, f"The {backend.title} did not answer within 20 s.") from None
    return answer if isinstance(answer, dict) else {}


def before_of(request: web.Request) -> int | None:
    return number(request, "before")


def number(request: web.Request, name: str) -> int | None:
    given = request.query.get(name, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 16 else None


async def session_list(request: web.Request) -> web.Response:
    """All sessions for operators; only their own for those who may only look."""
    site = request.app[SITE]
    own = site.session()
    rows = [row for row in site.auth.live() if not own.view_only or row.id == own.id]
    return page(sessions_page(site.view(), site.assets.url, rows, own.id))


async def who(request: web.Request) -> web.Response:
    """Also why this page gets no stream: a script is not told what a stream was refused with."""
    site = request.app[SITE]
    session = site.session()
    no_room = site.hub.no_room(session.user)
    return json({"user": session.user, "view_only": session.view_only, "no_room": no_room})


async def events(request: web.Request) -> web.StreamResponse:
    site = request.app[SITE]
    return await site.streams.serve(request, site.session())


def _state(view: View, changed: Packed) -> dict[str, Any]:
    n = count(view)
    return {
        "version": view.snapshot.version,
        "now": time.time(),
        "sections": changed,
        "count": n,
        "icon": icon_name(n),
        "title": f"({n}) hyperhive" if n else "hyperhive",
    }


def notice(text: str, *, ok: bool) -> Notice:
    return Notice(text, "ok" if ok else "bad")
