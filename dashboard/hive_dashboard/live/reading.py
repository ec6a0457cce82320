"""How each part of what the pages show is read from its process, and when it is read again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from hive_wire.pages import AGENTS, RETIRED, STATUS, ask_whole

from .backends import Backend
from .models import (
    AgentStatus,
    BrokerCondition,
    DeadLetter,
    Event,
    HostStatus,
    Message,
    Proposal,
    Question,
    Retired,
)

NEWEST = 1 << 53  # "before" this id is the newest there is
PAGE = 200  # proposals in one answer
ASKED = 200  # open questions, and dead letters, that are read; the others are counted


async def _status(host: Backend) -> HostStatus:
    return HostStatus.model_validate(await ask_whole(host.ask, STATUS))


async def _open(host: Backend) -> tuple[Proposal, ...]:
    """All of them, the newest first."""
    rows: list[Proposal] = []
    while True:
        before = {"before": rows[-1].n} if rows else {}
        answer = await host.ask("proposals", state="open", limit=PAGE, **before)
        found = [Proposal.model_validate(row) for row in answer["proposals"]]
        rows += found
        if len(found) < PAGE:
            return tuple(rows)


async def _closed(host: Backend) -> tuple[Proposal, ...]:
    rows: list[Proposal] = []
    for state in ("merged", "closed"):
        answer = await host.ask("proposals", state=state, limit=12)
        rows += [Proposal.model_validate(row) for row in answer["proposals"]]
    rows = [row for row in {row.n: row for row in rows}.values() if row.state != "open"]
    return tuple(sorted(rows, key=lambda row: -(row.ended or row.created))[:12])


async def _agents(broker: Backend) -> dict[str, AgentStatus]:
    answer = await ask_whole(broker.ask, AGENTS)
    rows = (AgentStatus.model_validate(row) for row in answer["agents"])
    return {row.name: row for row in rows}


async def _questions(broker: Backend) -> tuple[tuple[Question, ...], int]:
    """The open ones that end first, in the order in which they were asked, and how many are open
    beside them."""
    answer = await broker.ask("questions", open=True, soonest=True, limit=ASKED)
    rows = sorted((Question.model_validate(row) for row in answer["questions"]), key=lambda q: q.id)
    return tuple(rows), max(0, answer["open"] - len(rows))


async def _messages(broker: Backend) -> tuple[Message, ...]:
    answer = await broker.ask("messages", before=NEWEST, limit=80)
    return tuple(Message.model_validate(row) for row in answer["messages"])


async def _inbox(broker: Backend) -> tuple[Message, ...]:
    answer = await broker.ask("inbox", limit=40)
    return tuple(Message.model_validate(row) for row in answer["messages"])


async def _dead(broker: Backend) -> tuple[tuple[DeadLetter, ...], int]:
    """Those given up last, and how many there are behind them."""
    answer = await broker.ask("dead", limit=ASKED)
    rows = tuple(DeadLetter.model_validate(row) for row in answer["dead"])
    is_cut = answer["next"] is not None
    return rows, max(1, answer["total"] - len(rows)) if is_cut else 0


async def _conditions(broker: Backend) -> tuple[BrokerCondition, ...]:
    answer = await broker.ask("status")
    return tuple(BrokerCondition.model_validate(row) for row in answer["conditions"])


async def _past(broker: Backend) -> list[Event]:
    answer = await broker.ask("events", before=NEWEST, kinds=["state", "offline"], limit=1000)
    return [Event.model_validate(row) for row in answer["events"]]


async def _turns(broker: Backend) -> list[Event]:
    answer = await broker.ask("events", before=NEWEST, kinds=["turn.ended"], limit=1000)
    return [Event.model_validate(row) for row in answer["events"]]


async def _late(broker: Backend) -> tuple[Question, ...]:
    answer = await broker.ask("questions", open=False, limit=50)
    rows = (Question.model_validate(row) for row in answer["questions"])
    return tuple(q for q in rows if q.state == "expired" and q.kind == "question")[-6:]


async def _kept(host: Backend) -> tuple[Retired, ...]:
    answer = await ask_whole(host.ask, RETIRED)
    return tuple(Retired.model_validate(row) for row in answer["agents"])


_Read = Callable[[Backend], Awaitable[Any]]
HOST: dict[str, _Read] = {"status": _status, "open": _open, "closed": _closed, "kept": _kept}
BROKER: dict[str, _Read] = {
    "agents": _agents,
    "questions": _questions,
    "messages": _messages,
    "inbox": _inbox,
    "dead": _dead,
    "conditions": _conditions,
    "past": _past,
    "late": _late,
    "turns": _turns,
}

# Which parts an event of the broker makes stale.
STALE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("state", "turn.started", "turn.ended", "ready", "offline"), ("agents",)),
    **dict.fromkeys(("paused", "unpaused", "login"), ("agents",)),
    "message": ("messages", "inbox", "agents"),
    "question": ("questions", "late"),
    **dict.fromkeys(("dead", "dead.retried", "dead.dropped", "retired"), ("dead", "agents")),
    "condition": ("conditions",),
}
