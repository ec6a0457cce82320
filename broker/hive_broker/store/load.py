"""What the broker must have in memory, read from disk when it starts or an agent returns."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from hive_wire.protocol import RegistryAgent, Usage

from ..core.budget import DAY, HOUR, price
from ..core.calls import Call
from ..core.delivery import Delivery, Turn
from ..core.permissions import Permission
from ..core.questions import Question
from ..core.reminders import Reminder
from .events import last_of_each

SLACK = 60.0  # seconds between an event and what was written with it, at most


@dataclass(frozen=True, slots=True)
class AgentState:
    """One agent's row and what hangs on it. Times are unix seconds."""

    record: RegistryAgent
    retired: bool
    fenced: bool
    boot: str | None
    acked: int
    untouched: Sequence[int]  # open messages like `Delivery(message)`, which most are
    deliveries: tuple[Delivery, ...]  # all other open ones; not_before in unix seconds
    running: Turn | None
    calls: tuple[Call, ...]
    dead: int
    starts: tuple[float, ...]  # turns begun within the hour
    claimed: tuple[tuple[float, float], ...]  # (at, USD) within the day
    metered: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    epoch: int
    last_message: int
    last_event: int
    last_call: int
    last_question: int
    last_reminder: int
    sequences: dict[str | None, int]
    agents: tuple[AgentState, ...]
    pauses: dict[str, tuple[str, str]]  # scope to (by, reason)
    questions: tuple[Question, ...]
    reminders: tuple[Reminder, ...]


def begin(db: sqlite3.Connection, now: float) -> Snapshot:
    """Count this start, and read everything that is open."""
    _count_start(db)
    uids = [row[0] for row in db.execute("select uid from agent")]
    back = _turned_back(db, now)
    waiting = _open(db, None, back)
    last = {t: _one(db, f"select coalesce(max(id), 0) from {t}") for t in _COUNTED}  # noqa: S608
    return Snapshot(
        epoch=_one(db, "select v from meta where k = 'epoch'"),
        last_message=last["message"],
        last_event=last["event"],
        last_call=last["call"],
        last_question=last["question"],
        last_reminder=last["reminder"],
        sequences={uid: seq for uid, (_, seq) in last_of_each(db).items()},
        agents=tuple(
            _agent_state(db, uid, waiting.get(uid, _Open()), _Clock(now, back)) for uid in uids
        ),
        pauses={s: (by, why) for s, by, why in db.execute("select scope, by, reason from pause")},
        questions=tuple(
            question(row) for row in db.execute("select * from question where state = 'open'")
        ),
        reminders=tuple(_reminder(row) for row in db.execute("select * from reminder")),
    )


_COUNTED = ("message", "event", "call", "question", "reminder")


def agent_state(db: sqlite3.Connection, uid: str, now: float) -> AgentState:
    """Everything that is open of one agent. Raises LookupError for a uid never seen."""
    back = _turned_back(db, now)
    waiting = _open(db, uid, back).get(uid, _Open())
    return _agent_state(db, uid, waiting, _Clock(now, back))


def _count_start(db: sqlite3.Connection) -> None:
    """In one transaction, since each waits for the disk."""
    db.executescript(
        "begin immediate; insert or ignore into meta values('epoch', 0);"
        " update meta set v = v + 1 where k = 'epoch';"
        # of a call that was stored while its turn ended
        " delete from call where not exists (select 1 from delivery d where"
        " d.agent = call.agent and d.message = call.waking and d.state = 0); commit"
    )


@dataclass(slots=True)
class _Open:
    """Of one agent, oldest first."""

    untouched: Sequence[int] = ()
    others: list[Delivery] = field(default_factory=list)


_UNTOUCHED = (
    "attempt=1 and counted=0 and not_before <= :back and attached_to is null and given is null"
    " and hops=0"
)
_STATE_OPEN = "from delivery indexed by delivery_open where state=0 and agent=coalesce(:uid, agent)"


def _open(db: sqlite3.Connection, uid: str | None, back: float) -> dict[str, _Open]:
    """What is open of each agent. The most by far come as one list an agent, not as rows."""
    values = {"uid": uid, "back": back}
    found: dict[str, _Open] = {}
    for agent, messages in db.execute(
        f"select agent, json_group_array(message) {_STATE_OPEN} and {_UNTOUCHED} group by agent",
        values,
    ):
        found[agent] = _Open(sorted(orjson.loads(messages)))
    for agent, *row in db.execute(
        "select agent, message, attempt, counted, max(not_before - :back, 0), attached_to, given,"
        f" hops {_STATE_OPEN} and not ({_UNTOUCHED}) order by message",
        values,
    ):
        found.setdefault(agent, _Open()).others.append(Delivery._make(row))
    return found


@dataclass(frozen=True, slots=True)
class _Clock:
    """Now, and by how many seconds the clock was set back since the last event."""

    now: float
    back: float

    def since(self, seconds: float, forgiven: float) -> dict[str, float]:
        """Bounds of what still counts. Times ahead of now are of a clock that went wrong: what
        was used then must not count until that time comes."""
        then = self.now + self.back
        after = max(then - seconds, forgiven)
        return {"back": self.back, "after": after, "upto": then + SLACK}


def _agent_state(db: sqlite3.Connection, uid: str, waiting: _Open, clock: _Clock) -> AgentState:
    row = db.execute(
        "select record, retired, fenced, boot, acked, forgiven from agent where uid=?", (uid,)
    ).fetchone()
    if row is None:
        raise LookupError(uid)
    record, retired, fenced, boot, acked, forgiven = row
    running = db.execute(
        "select t.message, t.attempt from turn t join delivery d using(agent, message)"
        " where t.agent=? and t.ended is null and d.state=0 and d.attempt=t.attempt"
        " and d.attached_to is null order by t.started desc limit 1",
        (uid,),
    ).fetchone()
    calls = db.execute(
        "select id, name, waking, tool, digest, result, repeat from call where agent=? order by id",
        (uid,),
    )
    return AgentState(
        record=RegistryAgent.model_validate_json(record),
        retired=retired is not None,
        fenced=bool(fenced),
        boot=boot,
        acked=acked,
        untouched=waiting.untouched,
        deliveries=tuple(waiting.others),
        running=None if running is None else Turn(*running),
        calls=tuple(Call(*row) for row in calls),
        dead=_one(db, "select count(*) from delivery where agent=? and state=3", uid),
        starts=tuple(
            at
            for (at,) in db.execute(
                "select started - :back from turn where agent=:uid and started > :after"
                " and started < :upto order by started",
                {"uid": uid, **clock.since(HOUR, forgiven)},
            )
        ),
        claimed=tuple(
            db.execute(
                "select ended - :back, cost_usd from turn where agent=:uid and ended > :after"
                " and ended < :upto order by ended",
                {"uid": uid, **clock.since(DAY, forgiven)},
            )
        ),
        metered=tuple(
            (at, usd or price(_usage(counts)))
            for at, usd, *counts in db.execute(
                "select at - :back, usd, input_tokens, output_tokens, cache_read_tokens,"
                " cache_write_tokens from metered where agent=:uid and at > :after and at < :upto"
                " order by at",
                {"uid": uid, **clock.since(DAY, forgiven)},
            )
        ),
    )


def _turned_back(db: sqlite3.Connection, now: float) -> float:
    """Seconds that somebody set the clock back by, since the last event that has its time
    from here: what was to wait for seconds must not wait for these as well."""
    last = db.execute(
        "select at from event where stream=0 and kind<>'gap' order by id desc limit 1"
    ).fetchone()
    return 0.0 if last is None else max(0.0, float(last[0]) - now)


def _reminder(row: Any) -> Reminder:
    ident, uid, body, due, every, dated = row
    return Reminder(ident, uid, body, due, every, bool(dated))


def question(row: Any) -> Question:
    """The question in a row of its table."""
    ident, uid, text, options, multi, asked, expires, state, answer, by, permission, _ = row
    return Question(
        id=ident,
        uid=uid,
        text=text,
        options=tuple(orjson.loads(options)),
        multi=bool(multi),
        asked=asked,
        expires=expires,
        state=state,
        answer=None if answer is None else orjson.loads(answer),
        answered_by=by,
        permission=None if permission is None else Permission(**orjson.loads(permission)),
    )


def _usage(counts: list[int]) -> Usage:
    return Usage(
        input_tokens=counts[0],
        output_tokens=counts[1],
        cache_read_tokens=counts[2],
        cache_write_tokens=counts[3],
    )


def _one(db: sqlite3.Connection, query: str, *parameters: object) -> int:
    return int(db.execute(query, parameters).fetchone()[0])
