"""What the API answers, as models: the page of the API and its tests are made from them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from hive_wire.pages import DEAD_AFTER

from ..live.mirror import Snapshot
from ..live.models import (
    BrokerCondition,
    Build,
    Change,
    Condition,
    DeadLetter,
    Event,
    FileDiff,
    Message,
    PlannedAction,
    Proposal,
    Question,
    Retired,
)
from ..live.whole import Part
from ..pages.agents import AgentView, agents
from ..pages.need import needs, waiting


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Done(Answer):
    """It was done; `ok` says what, for a person."""

    ok: str


class Problem(Answer):
    """It was not done; `error` says why and what to do. `changed`: what moved since it was
    looked at (409)."""

    error: str
    changed: tuple[str, ...] = ()


class Me(Answer):
    user: str
    view_only: bool


class Spent(Answer):
    """In the last 24 hours; how many tokens of the model's window the conversation fills (0:
    unknown)."""

    turns: int
    failed: int
    tokens: int
    usd: float
    context: int
    window: int


class Need(Answer):
    """One thing that waits for a person; `until` and `since` are unix seconds."""

    kind: str
    glyph: str
    title: str
    words: str
    until: float | None
    since: float | None


class Agent(Answer):
    """`state` is one word from both processes, `glyph` and `kind` are how the pages mark it; times
    are unix seconds, sizes bytes."""

    name: str
    uid: str | None
    role: str
    state: str
    word: str
    glyph: str
    kind: str
    since: float | None
    detail: str
    description: str
    container: str
    engine: str
    model: str | None
    network: str | None
    desired: str
    in_sync: bool
    revision: str | None
    conditions: tuple[Condition, ...]
    queued: int | None
    dead: int | None
    turn: str | None
    paused: bool
    memory: int | None
    memory_limit: int | None
    tasks: int | None
    web_port: int | None
    spent: Spent | None

    @classmethod
    def of(cls, it: AgentView, snapshot: Snapshot) -> Agent:
        host, status = it.host, it.status
        spent = snapshot.spent.get(it.uid or "")
        return cls(
            name=it.name,
            uid=it.uid,
            role=host.role if host else "agent",
            state=it.state,
            word=it.word,
            glyph=it.glyph,
            kind=it.kind,
            since=it.since,
            detail=it.detail,
            description=host.description if host else "",
            container=host.container if host else "",
            engine=host.engine if host else "",
            model=host.model if host else None,
            network=host.network if host else None,
            desired=host.desired if host else "",
            in_sync=host.in_sync if host else False,
            revision=host.revision if host else None,
            conditions=host.conditions if host else (),
            queued=status.queued if status else None,
            dead=status.dead if status else None,
            turn=status.turn if status else None,
            paused=status.paused if status else False,
            memory=host.memory if host else None,
            memory_limit=host.memory_limit if host else None,
            tasks=host.tasks if host else None,
            web_port=host.web_port if host else None,
            spent=Spent.model_validate(spent, from_attributes=True) if spent else None,
        )


class Swarm(Answer):
    """`away` maps a process to since when; `unread` a part to why it is not fresh; `needs` is how
    many things wait for a person, `waiting` what they are, in order; `conditions` what is wrong with the broker; `last` the id of
    the newest event."""

    runtime: str
    applied: str | None
    at: float
    stale: str | None
    templates: tuple[str, ...]
    away: dict[str, float]
    unread: dict[str, str]
    needs: int
    waiting: tuple[Need, ...]
    conditions: tuple[BrokerCondition, ...]
    last: int | None
    agents: tuple[Agent, ...]

    @classmethod
    def of(cls, snapshot: Snapshot, last: int | None) -> Swarm:
        status = snapshot.status
        return cls(
            runtime=status.runtime if status else "",
            applied=status.applied if status else None,
            at=status.at if status else 0.0,
            stale=status.stale if status else None,
            templates=status.templates if status else (),
            away=snapshot.away,
            unread=snapshot.unread,
            needs=waiting(snapshot),
            waiting=tuple(
                Need.model_validate(row, from_attributes=True)
                for row in needs(snapshot, snapshot.at)
            ),
            conditions=snapshot.conditions,
            last=last,
            agents=tuple(Agent.of(it, snapshot) for it in agents(snapshot)),
        )


class Events(Answer):
    """Oldest first. `more`: there are older ones; go on with `before` = `cursor`."""

    events: tuple[Event, ...]
    more: bool
    cursor: int | None


class Lines(Answer):
    lines: tuple[str, ...]


class Proposals(Answer):
    proposals: tuple[Proposal, ...]


class OneProposal(Answer):
    """`checks` are the problems that forbid to merge it; `plan` is null while none can be made.
    `short`: this is not all that would be approved; `whole` below it has what is left out."""

    proposal: Proposal
    diff: tuple[FileDiff, ...]
    diff_left_out: int  # files
    short: bool
    build: Build | None
    checks: tuple[Any, ...]
    plan: dict[str, Any] | None


class ProposalPart(Answer):
    """Some rows of the part that was asked for, in order; the other two lists are empty. Go on with
    `after` = `next`, null at the end. Rows of another `digest` are of another effect."""

    digest: str
    next: int | None
    changes: tuple[Change, ...] = ()
    actions: tuple[PlannedAction, ...] = ()
    diff: tuple[FileDiff, ...] = ()


class Questions(Answer):
    """`open`: how many are open in all. Go on with `after` = `next` until that is null."""

    questions: tuple[Question, ...]
    next: int | None = None
    open: int | None = None


class Messages(Answer):
    """Oldest first; go on with `before` = the first one's id."""

    messages: tuple[Message, ...]


class Dead(Answer):
    """Those given up last first; `total`: how many there are. Go on with `after` = `next` until that
    is null."""

    dead: tuple[DeadLetter, ...]
    next: str | None = None
    total: int | None = None


class Kept(Answer):
    """Retired agents whose state is kept."""

    agents: tuple[Retired, ...]


class Plan(Answer):
    """What the loop would do now."""

    commit: str
    changes: int = 0
    actions: tuple[dict[str, Any], ...] = ()
    blocked: tuple[dict[str, Any], ...] = ()
    left_out: int = 0  # that are too many to list


class Session(Answer):
    label: str
    user: str
    view_only: bool
    created: float
    seen: float
    browser: str


class Sessions(Answer):
    sessions: tuple[Session, ...]


# -- what may be asked ---------------------------------------------------------------------------


class Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Query):
    pass


Before = Annotated[int, Field(ge=1, lt=1 << 53)]
Kind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,39}$")]


class EventQuery(Query):
    """With `q`: events in whose texts all its words stand."""

    before: Before | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 200
    kinds: Annotated[tuple[Kind, ...], Field(max_length=20)] = ()
    q: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class LinesQuery(Query):
    limit: Annotated[int, Field(ge=1, le=5000)] = 200


class ProposalQuery(Query):
    state: Annotated[str, Field(pattern="^(open|closed|merged)$")] | None = None
    before: Before | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class PartQuery(Query):
    part: Part = "changes"
    after: Annotated[int, Field(ge=0, lt=1 << 53)] = 0


class QuestionQuery(Query):
    open: bool = True
    after: Annotated[int, Field(ge=0, lt=1 << 53)] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class DeadQuery(Query):
    after: Annotated[str, Field(pattern=DEAD_AFTER)] | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 200


class MessageQuery(Query):
    peer: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,8}$")] | None = None
    before: Before | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100
