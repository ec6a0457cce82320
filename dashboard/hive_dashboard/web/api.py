"""Serves the API: the tables of reads and actions, its document, its page, and figures."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web
from pydantic import ValidationError

from ..acts.job import Desk, Failed, Job
from ..acts.table import ACTIONS, Action
from ..acts.wishes import BadForm, words
from ..api.answers import Query
from ..api.reads import READS, Look, Read, Unanswered
from ..api.spec import PREFIX, openapi
from ..live.figures import metrics
from ..pages.apipage import api_page
from .guard import JSON, Refused
from .site import SITE, json, page

Handler = Callable[[web.Request], Awaitable[web.Response]]


def routes(place: Callable[[str], str]) -> list[web.RouteDef]:
    """`place` writes {n} and {name} as the router wants them."""
    return [
        web.get("/api", _page),
        web.get("/metrics", _metrics),
        web.get(f"{PREFIX}/openapi.json", _document),
        *(web.get(PREFIX + place(read.path), _read(read)) for read in READS),
        *(web.post(PREFIX + place(action.path), _act(action)) for action in ACTIONS),
    ]


def _read(read: Read) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        site = request.app[SITE]
        look = Look(
            query=_query(read.query, request),
            path=dict(request.match_info),
            snapshot=site.mirror.snapshot,
            last=site.hub.last,
            host=site.host,
            broker=site.broker,
            me=site.session(),
            sessions=tuple(site.auth.live()),
        )
        try:
            return json((await read.run(look)).model_dump(mode="json"))
        except Unanswered as error:
            raise Refused(error.status, error.message) from None

    return handle


def _query(model: type[Query], request: web.Request) -> Query:
    """Raises Refused."""
    many = {name for name, field in model.model_fields.items() if field.default == ()}
    given = {
        name: tuple(request.query.getall(name)) if name in many else request.query[name]
        for name in request.query
    }
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise Refused(422, words(error)) from None


def _act(action: Action) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        site = request.app[SITE]
        if request.body_exists and request.content_type != JSON:
            raise Refused(415, f"The API takes {JSON}.")
        desk = Desk(site.host, site.broker, site.mirror)
        try:
            wish = action.wish.model_validate_json(await request.read() or b"{}", strict=True)
            job = Job(desk, wish, site.session().user, dict(request.match_info))
            said = await action.act(job)
        except ValidationError as error:
            raise Refused(422, words(error)) from None
        except BadForm as error:
            raise Refused(422, str(error)) from None
        except Failed as error:
            return json({"error": error.message, "changed": error.changed}, error.status)
        if action.changes_swarm:
            site.mirror.stale("open", "closed", "status", "kept")
        return json({"ok": said})

    return handle


async def _document(request: web.Request) -> web.Response:
    site = request.app[SITE]
    document = openapi(site.settings.cookie)
    document["servers"] = [{"url": site.settings.base or "/"}]
    return web.Response(body=orjson.dumps(document), content_type=JSON)


async def _page(request: web.Request) -> web.Response:
    site = request.app[SITE]
    return page(api_page(site.view(), site.assets.url, openapi(site.settings.cookie)))


async def _metrics(request: web.Request) -> web.Response:
    site = request.app[SITE]
    text = await metrics(site.host, site.broker, site.hub, site.auth.live())
    return web.Response(text=text, content_type="text/plain", charset="utf-8")


def may_scrape(request: web.Request, token: str) -> bool:
    """A scraper has no session: the token of the file `metrics-token` lets it read figures."""
    given = request.headers.get("Authorization", "")
    return (
        request.path == "/metrics"
        and request.method == "GET"
        and hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
    )
