"""The middleware around every handler: guard, session, errors, headers."""

from __future__ import annotations

import logging
from urllib.parse import quote

from aiohttp import web

from ..auth.service import UnknownUser
from ..auth.sessions import Session
from ..html import BASE
from ..pages.plain import message_page
from .api import may_scrape
from .guard import Handler, Refused, check, harden
from .site import SESSION, SITE, Site, json, page, port_of, see, set_session, wants_json

log = logging.getLogger(__name__)
_OPEN = ("/login", "/s/")  # what a browser without a session may have
_STREAM = "/events"
FRESH = web.RequestKey("fresh", str)  # the cookie of a session that was just opened
AGAIN = 3  # seconds until a browser asks again for a page that could not be had yet
_TITLES = {
    404: "not here",
    405: "not that way",
    413: "too large",
    421: "another name",
    429: "too fast",
    503: "busy",
}


@web.middleware
async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
    BASE.set(request.app[SITE].settings.base)
    try:
        response = await _pass(request, handler)
    except Refused as refused:
        response = _say(request, refused.status, refused.message)
    except web.HTTPException as error:
        if error.status < 400:
            harden(error)
            _remember(request, error)
            raise
        words = (
            "There is nothing at this address."
            if error.status == 404
            else (
                "This is more than the dashboard takes: 256 KiB."
                if error.status == 413
                else error.text or error.reason
            )
        )
        response = _say(request, error.status, words)
    except ConnectionError:
        raise  # the browser left
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        response = _say(request, 500, "This page failed; the dashboard's log has the cause.")
    if not response.prepared:
        harden(response)
        _remember(request, response)
    return response


async def _pass(request: web.Request, handler: Handler) -> web.StreamResponse:
    site = request.app[SITE]
    check(request, site.settings, port_of(request))
    session = await _session(request, site)
    SESSION.set(session)
    if session is None and may_scrape(request, site.scrape_token):
        return await handler(request)
    if session is None and not request.path.startswith(_OPEN):
        if request.method == "GET" and not wants_json(request) and request.path != _STREAM:
            raise see(f"/login?next={quote(request.path_qs)}")
        raise Refused(401, "You are logged out. Log in again; what you typed stays in this page.")
    if (
        session is not None
        and session.view_only
        and request.method == "POST"
        and request.path not in ("/login", "/logout")
    ):
        raise Refused(403, "You may look and not act: ask the operator for a full login.")
    if not request.path.startswith((*_OPEN, _STREAM)):
        await site.mirror.first()
    return await handler(request)


async def _session(request: web.Request, site: Site) -> Session | None:
    """Who asks: by the cookie, or as a trusted proxy says. Raises Refused."""
    cookie = request.cookies.get(site.settings.cookie)
    header = site.settings.proxy_header
    named = request.headers.getall(header, []) if header else []
    is_named = bool(named) and site.settings.trusts(request.remote)
    if not is_named and not cookie:
        return None
    browser = await site.browser(request)
    if not is_named:
        return await site.auth.session(cookie, browser.uid)
    if len(named) > 1:
        raise Refused(403, "The proxy named several users.")
    try:
        secret, session = await site.auth.trusted(named[0].strip(), cookie, browser)
    except UnknownUser as error:
        raise Refused(403, str(error)) from None
    request[FRESH] = secret
    return session


def _remember(request: web.Request, response: web.StreamResponse) -> None:
    """The cookie of a session that a proxy's word opened."""
    if secret := request.get(FRESH):
        set_session(request, response, secret)


def _say(request: web.Request, status: int, words: str) -> web.Response:
    if wants_json(request):
        return json({"error": words}, status)
    title = _TITLES.get(status, "no")
    response = page(message_page(request.app[SITE].assets.url, title, words), status)
    if status == 503 and request.method == "GET":
        response.headers["Refresh"] = str(AGAIN)
    return response
