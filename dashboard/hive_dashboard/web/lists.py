"""Long lists, a page at a time: questions, dead letters, messages, decisions."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from aiohttp import web

from hive_wire.names import OPERATOR, is_name
from hive_wire.pages import DEAD_AFTER

from ..live.models import DeadLetter, Message, Proposal, Question
from ..live.reading import NEWEST
from ..pages import looks
from ..pages.common import View
from ..pages.decisions import audit_page
from ..pages.questions import CARDS
from .guard import Refused
from .site import SITE, Site, page
from .views import HISTORY, ask, before_of, number

LETTERS = 50  # of one page


async def messages(request: web.Request) -> web.Response:
    site = request.app[SITE]
    peer = request.query.get("peer", "")
    given: dict[str, Any] = {"peer": peer} if is_name(peer) or peer == OPERATOR else {}
    answer = await ask(
        site.broker, "messages", before=before_of(request) or NEWEST, limit=HISTORY, **given
    )
    rows = [Message.model_validate(row) for row in answer["messages"]]
    return page(looks.messages_page(site.view(), site.assets.url, rows, given.get("peer", "")))


async def questions(request: web.Request) -> web.Response:
    site = request.app[SITE]
    return await show_questions(site, site.view(), number(request, "after"))


async def show_questions(
    site: Site, view: View, after: int | None, status: int = 200
) -> web.Response:
    """All open ones: the swarm's page has room for some. Raises Refused."""
    given = {"after": after} if after else {}
    answer = await ask(site.broker, "questions", open=True, limit=CARDS, **given)
    rows = [Question.model_validate(row) for row in answer["questions"]]
    count, behind = max(len(rows), answer.get("open", 0)), answer.get("next")
    view = replace(view, page=f"/questions?after={after}" if after else "/questions")
    return page(looks.questions_page(view, site.assets.url, rows, behind, count), status)


async def dead(request: web.Request) -> web.Response:
    site = request.app[SITE]
    return await show_dead(site, site.view(), request.query.get("after"))


async def show_dead(site: Site, view: View, after: str | None, status: int = 200) -> web.Response:
    """All dead letters: the swarm's page has room for some. Raises Refused."""
    if after is not None and not re.fullmatch(DEAD_AFTER, after):
        raise Refused(404, "There is no such place among the dead letters.")
    given = {"after": after} if after else {}
    answer = await ask(site.broker, "dead", limit=LETTERS, **given)
    rows = [DeadLetter.model_validate(row) for row in answer["dead"]]
    count, behind = max(len(rows), answer.get("total", 0)), answer.get("next")
    view = replace(view, page=looks.dead_address(after))
    return page(looks.dead_page(view, site.assets.url, rows, behind, count), status)


async def audit(request: web.Request) -> web.Response:
    site = request.app[SITE]
    before = before_of(request)
    given = {"before": before} if before else {}
    answer = await ask(site.host, "proposals", limit=HISTORY, **given)
    rows = [Proposal.model_validate(row) for row in answer["proposals"]]
    return page(audit_page(site.view(), site.assets.url, rows, is_cut=len(rows) >= HISTORY))
