"""What the API lets one look at: each read with its path, its query and its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import BaseModel, ValidationError

from hive_wire.pages import RETIRED, ask_whole
from hive_wire.rpc_errors import NOT_FOUND, RpcError

from ..auth.sessions import Session
from ..live.backends import Backend
from ..live.mirror import Snapshot
from ..live.models import ProposalDetail
from ..live.reading import NEWEST
from ..pages.agents import AgentView, NotRead, agent
from . import answers as a


class Unanswered(Exception):
    """Why there is no answer: HTTP status and words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Look:
    """One request: the query, the parts of the path, and where to look."""

    query: Any
    path: dict[str, str]
    snapshot: Snapshot
    last: int | None
    host: Backend
    broker: Backend
    me: Session
    sessions: tuple[Session, ...]

    def agent(self) -> AgentView:
        """Raises Unanswered."""
        try:
            found = agent(self.snapshot, self.path["name"])
        except NotRead as error:
            raise Unanswered(503, str(error)) from None
        if found is None:
            raise Unanswered(404, f"there is no agent {self.path['name']!r}")
        return found

    async def ask(self, backend: Backend, method: str, **params: Any) -> dict[str, Any]:
        """Raises Unanswered."""
        try:
            answer = await backend.ask(method, **{k: v for k, v in params.items() if v is not None})
        except RpcError as error:
            raise Unanswered(404 if error.code == NOT_FOUND else 503, error.message) from None
        except TimeoutError:
            raise Unanswered(504, f"the {backend.title} did not answer within 20 s") from None
        return answer if isinstance(answer, dict) else {}


@dataclass(frozen=True)
class Read:
    path: str
    query: type[a.Query]
    answer: type[BaseModel]
    get: Callable[[Look], Awaitable[dict[str, Any] | BaseModel]]
    summary: str

    async def run(self, look: Look) -> BaseModel:
        """Raises Unanswered."""
        try:
            found = await self.get(look)
            return found if isinstance(found, BaseModel) else self.answer.model_validate(found)
        except ValidationError:
            raise Unanswered(502, "the answer was not understood: versions differ?") from None


async def me(look: Look) -> BaseModel:
    return a.Me(user=look.me.user, view_only=look.me.view_only)


async def swarm(look: Look) -> BaseModel:
    return a.Swarm.of(look.snapshot, look.last)


async def one_agent(look: Look) -> BaseModel:
    return a.Agent.of(look.agent(), look.snapshot)


async def events(look: Look) -> dict[str, Any]:
    query: a.EventQuery = look.query
    it = look.agent()
    if it.uid is None:
        return {"events": (), "more": False, "cursor": None}
    given = {"limit": query.limit, "kinds": query.kinds or None}
    if query.q is not None:
        found = await look.ask(
            look.broker,
            "search_events",
            agent=it.uid,
            query=query.q,
            before=query.before,
            **given,
        )
        return {
            "events": found["events"],
            "more": bool(found.get("more")),
            "cursor": found.get("cursor") or None,
        }
    before = query.before or NEWEST
    found = await look.ask(look.broker, "events", uid=it.uid, before=before, **given)
    rows = found["events"]
    return {"events": rows, "more": bool(rows), "cursor": rows[0]["id"] if rows else None}


async def journal(look: Look) -> dict[str, Any]:
    return await look.ask(look.host, "logs", name=look.agent().name, limit=look.query.limit)


async def proposals(look: Look) -> dict[str, Any]:
    query: a.ProposalQuery = look.query
    given = {"state": query.state, "before": query.before, "limit": query.limit}
    return await look.ask(look.host, "proposals", **given)


async def proposal(look: Look) -> BaseModel:
    found = ProposalDetail.of(await look.ask(look.host, "proposal", n=int(look.path["n"])))
    return a.OneProposal(
        proposal=found.proposal,
        diff=found.diff,
        diff_left_out=found.diff_left_out,
        short=found.is_short,
        build=found.build,
        checks=tuple(found.checks or ()),
        plan=found.plan or None,
    )


async def whole(look: Look) -> dict[str, Any]:
    query: a.PartQuery = look.query
    asked = {"n": int(look.path["n"]), "part": query.part, "after": query.after}
    found = await look.ask(look.host, "proposal_part", **asked)
    return {"digest": found["digest"], "next": found["next"], query.part: found["rows"]}


async def questions(look: Look) -> dict[str, Any]:
    query: a.QuestionQuery = look.query
    given = {"open": query.open, "after": query.after, "limit": query.limit}
    return await look.ask(look.broker, "questions", **given)


async def messages(look: Look) -> dict[str, Any]:
    query: a.MessageQuery = look.query
    return await look.ask(
        look.broker,
        "messages",
        peer=query.peer,
        before=query.before or NEWEST,
        limit=query.limit,
    )


async def inbox(look: Look) -> dict[str, Any]:
    return await look.ask(look.broker, "inbox", limit=200)


async def dead(look: Look) -> dict[str, Any]:
    query: a.DeadQuery = look.query
    return await look.ask(look.broker, "dead", after=query.after, limit=query.limit)


async def kept(look: Look) -> dict[str, Any]:
    return await ask_whole(partial(look.ask, look.host), RETIRED)


async def plan(look: Look) -> dict[str, Any]:
    return await look.ask(look.host, "plan")


async def sessions(look: Look) -> dict[str, Any]:
    """Who may only look sees no session but their own."""
    rows = [row for row in look.sessions if not look.me.view_only or row.id == look.me.id]
    return {
        "sessions": [
            {
                "label": row.label,
                "user": row.user,
                "view_only": row.view_only,
                "created": row.created,
                "seen": row.seen,
                "browser": row.agent,
            }
            for row in rows
        ]
    }


READS = (
    Read("/me", a.NoQuery, a.Me, me, "Who asks"),
    Read("/swarm", a.NoQuery, a.Swarm, swarm, "All agents, and what is away or waits"),
    Read("/agents/{name}", a.NoQuery, a.Agent, one_agent, "One agent"),
    Read("/agents/{name}/events", a.EventQuery, a.Events, events, "History, or a search in it"),
    Read("/agents/{name}/journal", a.LinesQuery, a.Lines, journal, "What its container printed"),
    Read("/proposals", a.ProposalQuery, a.Proposals, proposals, "Proposals, the newest first"),
    Read("/proposals/{n}", a.NoQuery, a.OneProposal, proposal, "One, with diff, plan and checks"),
    Read("/proposals/{n}/whole", a.PartQuery, a.ProposalPart, whole, "All of one part of it"),
    Read("/questions", a.QuestionQuery, a.Questions, questions, "Questions to people"),
    Read("/messages", a.MessageQuery, a.Messages, messages, "Messages of all, or of one agent"),
    Read("/inbox", a.NoQuery, a.Messages, inbox, "Messages to people"),
    Read("/dead", a.DeadQuery, a.Dead, dead, "Dead letters"),
    Read("/kept", a.NoQuery, a.Kept, kept, "Retired agents whose state is kept"),
    Read("/plan", a.NoQuery, a.Plan, plan, "The dry run"),
    Read("/sessions", a.NoQuery, a.Sessions, sessions, "Who is logged in"),
)
