"""What POST answers: with scripts JSON, without them a redirect or the page with the text kept."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, parse_qsl, urlsplit

import orjson
from aiohttp import web

from ..acts.job import Desk, Failed, Job
from ..acts.table import Action
from ..acts.wishes import BadForm, EndSession, parse
from ..auth.service import TooManyFailures
from ..pages.common import Notice, View
from ..pages.plain import login_page
from .guard import JSON, Refused
from .lists import show_dead, show_questions
from .site import SESSION, SITE, json, page, see, set_session, wants_json
from .views import notice, show_agent, show_proposal, show_swarm

MAX_FIELDS = 100
_PAGE = re.compile(  # those with forms, beside the swarm's
    r"/(?:a/[a-z][a-z0-9-]{0,8}/|proposals/[1-9]\d{0,8}|questions(?:\?after=\d{1,15})?"
    r"|dead(?:\?after=[\w.%:-]{1,80})?)",
    re.ASCII,
)


def action(it: Action) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler of one action."""

    async def handle(request: web.Request) -> web.Response:
        site = request.app[SITE]
        fields = await read_form(request)
        path = dict(request.match_info)
        try:
            job = Job(
                Desk(site.host, site.broker, site.mirror),
                parse(it.wish, fields),
                site.session().user,
                path,
            )
            said = await it.act(job)
        except BadForm as error:
            return await _refuse(request, Failed(422, str(error)), it.form.format(**path), fields)
        except Failed as error:
            return await _refuse(request, error, it.form.format(**path), fields)
        if it.changes_swarm:
            site.mirror.stale("open", "closed", "status", "kept")
        if wants_json(request):
            return json({"ok": said})
        await site.mirror.settle()
        site.flash[site.session().id].append(notice(said, ok=True))
        raise see(_back(request))

    return handle


async def _refuse(
    request: web.Request, error: Failed, form: str, fields: dict[str, list[str]]
) -> web.Response:
    """Says what is wrong, and keeps what was typed."""
    site = request.app[SITE]
    path = request.match_info
    if error.status == 409:
        site.mirror.stale("open", "closed", "status")
    if error.status == 409 or not wants_json(request):  # then the page is drawn anew
        await site.mirror.settle()
    if wants_json(request):
        return json({"error": error.message, "changed": error.changed}, error.status)
    is_moved = error.status == 409 and request.path.startswith("/proposals/")
    moved = {int(path["n"]): error.changed} if is_moved else {}
    if moved and not error.changed:
        moved = dict.fromkeys(moved, (error.message,))
    draft = {name: given[-1] for name, given in fields.items()}
    if "in_reply_to" in draft:
        form = f"reply-{draft['in_reply_to']}"
    view = site.view(
        Notice(error.message, "think" if error.status == 409 else "bad"),
        drafts={form: draft},
        moved=moved,
    )
    try:
        return await _page_of(request, view, error.status)
    except Refused:
        return show_swarm(site, view, error.status)  # its page cannot be had now


def _back(request: web.Request) -> str:
    """The page that the form stood on."""
    back = request.query.get("back", "")
    if _PAGE.fullmatch(back):
        return back
    return f"/a/{request.match_info['name']}/" if request.path.startswith("/a/") else "/"


async def _page_of(request: web.Request, view: View, status: int) -> web.Response:
    """That page, drawn anew. Raises Refused."""
    site, back = request.app[SITE], urlsplit(_back(request))
    _, kind, *names = back.path.split("/")
    after = dict(parse_qsl(back.query)).get("after")
    if kind == "a":
        return await show_agent(site, view, names[0], status=status)
    if kind == "questions":
        return await show_questions(site, view, int(after or 0), status)
    if kind == "dead":
        return await show_dead(site, view, after, status)
    n = int(request.match_info["n"]) if request.path.startswith("/proposals/") else None
    if kind == "proposals" or (n and all(row.n != n for row in view.snapshot.open)):
        return await show_proposal(site, view, n or int(names[0]), status)
    return show_swarm(site, view, status)


async def read_form(request: web.Request) -> dict[str, list[str]]:
    """Fields of a form, or of a JSON object of texts. Raises Refused."""
    data = await request.read()
    try:
        if request.content_type == JSON:
            given = orjson.loads(data)
            if not isinstance(given, dict):
                raise ValueError("not an object")
            return {
                key: [str(v) for v in (value if isinstance(value, list) else [value])]
                for key, value in given.items()
            }
        return parse_qs(
            data.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise Refused(400, f"This is no form that can be read: {error}") from None


async def login_form(request: web.Request) -> web.Response:
    site = request.app[SITE]
    return page(login_page(site.assets.url, None, _local(request.query.get("next", "/"))))


async def login(request: web.Request) -> web.Response:
    site = request.app[SITE]
    fields = await read_form(request)
    after = _local(fields.get("next", ["/"])[-1])
    code = fields.get("code", [""])[-1].strip()
    try:
        done = await site.auth.login(code.rpartition("#")[2], await site.browser(request))
    except TooManyFailures as error:
        answer = page(login_page(site.assets.url, str(error), after), 429)
        answer.headers["Retry-After"] = str(int(error.wait) + 1)
        return answer
    if done is None:
        words = "This link was used already or is older than two minutes: run hive login again."
        return page(login_page(site.assets.url, words, after), 401)
    old = SESSION.get()
    if old is not None:
        await site.auth.end(old.label)
    response = see(after)
    set_session(request, response, done[0])
    raise response


async def logout(request: web.Request) -> web.Response:
    site = request.app[SITE]
    await site.auth.end(site.session().label)
    response = see("/login")
    response.del_cookie(
        site.settings.cookie, path=f"{site.settings.base}/", httponly=True, samesite="Strict"
    )
    raise response


async def end_session(request: web.Request) -> web.Response:
    site = request.app[SITE]
    try:
        wish = parse(EndSession, await read_form(request))
    except BadForm as error:
        raise Refused(422, str(error)) from None
    ended = await site.auth.end(wish.session)
    said = "The session is ended." if ended else "That session had ended already."
    if wants_json(request):
        return json({"ok": said})
    site.flash[site.session().id].append(notice(said, ok=True))
    raise see("/sessions")


def _local(path: str) -> str:
    """The path if it is one of ours, else `/`."""
    fine = (
        path.startswith("/")
        and not path.startswith("//")
        and path.isprintable()
        and "\\" not in path
    )
    return path if fine else "/"
