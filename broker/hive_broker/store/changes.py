"""Every statement that changes a row, by what it means."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson

from hive_wire.protocol import RegistryAgent, TurnEnd, Usage

from ..core.calls import Call
from ..core.delivery import Delivery, Turn
from ..core.questions import Question
from ..core.reminders import Reminder
from .rows import Change

OPEN, SETTLED, DEAD = 0, 2, 3


def to_json(value: Any) -> str:
    return orjson.dumps(value).decode()


# -- deliveries ----------------------------------------------------------------


def settle(agent: str, message: int, at: float) -> Change:
    return (
        "update delivery set state=?, done=? where agent=? and message=? and state=0",
        (SETTLED, at, agent, message),
    )


def give_back(agent: str, delivery: Delivery, not_before: float) -> Change:
    """`not_before` in unix seconds."""
    return (
        "update delivery set attempt=?, counted=?, not_before=? where agent=? and message=?",
        (delivery.attempt, delivery.counted, not_before, agent, delivery.message),
    )


def owe(agent: str, message: int) -> Change:
    return ("update delivery set given=null where agent=? and message=?", (agent, message))


def detach(agent: str, message: int) -> Change:
    return (
        "update delivery set attached_to=null, given=null where agent=? and message=?",
        (agent, message),
    )


def attach(agent: str, message: int, waking: int, call: str) -> Change:
    return (
        "update delivery set attached_to=?, given=? where agent=? and message=?",
        (waking, call, agent, message),
    )


def undamp(agent: str) -> Change:
    return (
        "update delivery indexed by delivery_open"
        " set hops=0, not_before=case attempt when 1 then 0 else not_before end"
        " where agent=? and state=0",
        (agent,),
    )


def bury(agent: str, delivery: Delivery, cause: str, at: float) -> Change:
    return (
        "update delivery set state=?, attempt=?, counted=?, cause=?, done=?"
        " where agent=? and message=?",
        (DEAD, delivery.attempt, delivery.counted, cause, at, agent, delivery.message),
    )


def unbury(agent: str, message: int) -> Change:
    return (
        "update delivery set state=0, counted=0, not_before=0, done=null, hops=0"
        " where agent=? and message=? and state=3",
        (agent, message),
    )


def drop_dead(agent: str, message: int, at: float) -> Change:
    return (
        "update delivery set state=?, done=? where agent=? and message=? and state=3",
        (SETTLED, at, agent, message),
    )


# -- turns ---------------------------------------------------------------------


def start_turn(agent: str, turn: Turn, at: float) -> Change:
    return (
        "insert into turn(agent, message, attempt, started) values(?,?,?,?) on conflict do nothing",
        (agent, turn.message, turn.attempt, at),
    )


def end_turn(agent: str, turn: Turn, end: TurnEnd, at: float) -> Change:
    used = end.usage
    return (
        "insert into turn(agent, message, attempt, started, ended, outcome, counted, cause,"
        " session, cost_usd, input_tokens, output_tokens, cache_read_tokens,"
        " cache_write_tokens, duration_ms) values(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
        " on conflict do update set ended=excluded.ended, outcome=excluded.outcome,"
        " counted=excluded.counted, cause=excluded.cause, session=excluded.session,"
        " cost_usd=excluded.cost_usd, input_tokens=excluded.input_tokens,"
        " output_tokens=excluded.output_tokens, cache_read_tokens=excluded.cache_read_tokens,"
        " cache_write_tokens=excluded.cache_write_tokens, duration_ms=excluded.duration_ms",
        (
            *(agent, turn.message, turn.attempt, at, at, end.outcome, int(end.counted)),
            *(end.cause, end.session, end.cost_usd, used.input_tokens, used.output_tokens),
            *(used.cache_read_tokens, used.cache_write_tokens, end.duration_ms),
        ),
    )


def meter(agent: str, usage: Usage, usd: float, at: float) -> Change:
    return (
        "insert into metered values(?,?,?,?,?,?,?) on conflict do nothing",
        (
            *(agent, at, usage.input_tokens, usage.output_tokens),
            *(usage.cache_read_tokens, usage.cache_write_tokens, usd),
        ),
    )


# -- calls ---------------------------------------------------------------------


def add_call(agent: str, call: Call, attempt: int) -> Change:
    """A call that is stored behind its attempt's end was answered to nobody."""
    return (
        "insert into call values(?,?,?,?,?,?,?, coalesce("
        "(select attempt<>? from delivery where agent=? and message=?), 0))",
        (
            *(call.id, agent, call.name, call.waking, call.tool, call.digest, call.result),
            *(attempt, agent, call.waking),
        ),
    )


def rename_call(call: Call) -> Change:
    return ("update call set name=?, repeat=0 where id=?", (call.name, call.id))


def repeat_call(agent: str, waking: int, name: str) -> Change:
    return (
        "update call set repeat=1 where agent=? and waking=? and name=?",
        (agent, waking, name),
    )


def repeat_calls(agent: str, waking: int) -> Change:
    return ("update call set repeat=1 where agent=? and waking=?", (agent, waking))


def forget_calls(agent: str, waking: int) -> Change:
    return ("delete from call where agent=? and waking=?", (agent, waking))


# -- agents --------------------------------------------------------------------


def set_agent(record: RegistryAgent) -> Change:
    return (
        "insert into agent(uid, name, record) values(?,?,?) on conflict(uid)"
        " do update set name=excluded.name, record=excluded.record, retired=null",
        (record.uid, record.name, record.model_dump_json()),
    )


def retire_agent(uid: str, at: float) -> Change:
    return ("update agent set retired=? where uid=? and retired is null", (at, uid))


def set_fence(uid: str, fenced: bool) -> Change:
    return ("update agent set fenced=? where uid=?", (int(fenced), uid))


def forgive(uid: str, at: float) -> Change:
    return ("update agent set forgiven=? where uid=?", (at, uid))


def set_boot(uid: str, boot: str) -> Change:
    return ("update agent set boot=?, acked=0, fenced=0 where uid=?", (boot, uid))


def set_acked(uid: str, boot: str, n: int) -> Change:
    return ("update agent set acked=? where uid=? and boot=?", (n, uid, boot))


def set_pause(scope: str, by: str, reason: str, at: float) -> Change:
    return ("insert or replace into pause values(?,?,?,?)", (scope, by, reason, at))


def lift_pause(scope: str) -> Change:
    return ("delete from pause where scope=?", (scope,))


# -- questions and reminders ---------------------------------------------------


def set_question(question: Question) -> Change:
    q, ask = question, question.permission
    return (
        "insert or replace into question values(?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            *(q.id, q.uid, q.text, to_json(q.options), int(q.multi), q.asked, q.expires, q.state),
            *(None if q.answer is None else to_json(q.answer), q.answered_by),
            *((None, None) if ask is None else (to_json(asdict(ask)), ask.key)),
        ),
    )


def set_reminder(reminder: Reminder) -> Change:
    r = reminder
    return (
        "insert or replace into reminder values(?,?,?,?,?,?)",
        (r.id, r.uid, r.body, r.due, r.every, int(r.dated)),
    )


def drop_reminder(ident: int) -> Change:
    return ("delete from reminder where id=?", (ident,))
