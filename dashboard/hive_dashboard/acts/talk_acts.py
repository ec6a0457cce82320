"""What people say to agents, and how they stop them: each asks the broker."""

from __future__ import annotations

import re
from typing import Any

from ..live.models import Question
from ..text import one_line
from .job import Failed, Job
from .wishes import COMMANDS, Answer, Command, Dead, LoginCode, Prompt, Send

MORE = 900  # seconds that "+15 min" gives a question
UNDAMPED = 100  # agents that the broker takes at once
# Seconds; the broker gives up before: a model that shortens a conversation takes minutes.
COMMANDED, LOGGED_IN = 320.0, 70.0
_ALL: dict[str, Any] = {"uid": None}  # every agent
_COMMAND = re.compile(r"/([a-z-]+)(?:\s+(.*))?")  # one line: a text may begin so, too


async def send(job: Job) -> str:
    wish: Send = job.wish
    await job.to_broker(
        "send", to=wish.to, body=wish.body, by=job.user, in_reply_to=wish.in_reply_to
    )
    return f"Sent to {wish.to}."


async def prompt(job: Job) -> str:
    """What starts with / is a command, as the page says, with scripts and without."""
    wish: Prompt = job.wish
    if found := _COMMAND.fullmatch(wish.body.strip()):
        return await _command(job, found[1], found[2])
    await job.to_broker("send", to=job.name, body=wish.body, by=job.user)
    return f"Sent to {job.name}."


async def answer(job: Job) -> str:
    wish: Answer = job.wish
    if not wish.text and not wish.choice:
        raise Failed(422, "Pick an option or write an answer.")
    said = "Answered."
    asked = await _asked(job) if wish.choice == ("always",) else None
    if asked is not None and asked.permission is not None:
        rule = asked.permission.rule
        proposed = await job.to_host("allow", agent=asked.agent, rule=rule)
        said = f"Allowed; proposal #{proposed.get('proposal')} makes it so for ever."
    await job.to_broker(
        "answer", id=job.n, by=job.user, text=wish.text, choices=list(wish.choice) or None
    )
    return said


async def _asked(job: Job) -> Question | None:
    """The open question; those that the page has not read are there, too."""
    answer = await job.to_broker("questions", open=True, after=job.n - 1, limit=1)
    rows = (Question.model_validate(row) for row in answer["questions"])
    return next((q for q in rows if q.id == job.n), None)


async def hold(job: Job) -> str:
    await job.to_broker("question.hold", id=job.n)
    return "The time stands still while you type."


async def extend(job: Job) -> str:
    await job.to_broker("question.hold", id=job.n, more=MORE)
    return f"The question waits {MORE // 60} minutes longer."


async def command(job: Job) -> str:
    wish: Command = job.wish
    return await _command(job, wish.command, wish.argument)


async def _command(job: Job, name: str, argument: str | None) -> str:
    if name not in COMMANDS:
        known = " ".join(f"/{command}" for command in COMMANDS)
        raise Failed(422, f"There is no command /{name}. There are: {known}")
    asked = {"uid": job.uid(), "command": name, "argument": argument, "by": job.user}
    answer = await job.to_broker("command", within=COMMANDED, **asked)
    return one_line(str(answer.get("text", "")), 1000) or f"/{name}: done."


async def dead_retry(job: Job) -> str:
    wish: Dead = job.wish
    await job.to_broker("dead.retry", id=job.n, agent=wish.agent, by=job.user)
    job.desk.mirror.stale("dead")
    return f"The message goes to {wish.agent} again."


async def dead_drop(job: Job) -> str:
    wish: Dead = job.wish
    await job.to_broker("dead.drop", id=job.n, agent=wish.agent, by=job.user)
    job.desk.mirror.stale("dead")
    return "The message is dropped."


async def undamp(job: Job) -> str:
    """For those whom the broker's condition names."""
    snapshot = job.desk.mirror.snapshot
    named = [n for c in snapshot.conditions for n in c.agents if n in snapshot.agents]
    if not named:
        raise Failed(409, "Nobody waits for having talked too long.")
    for start in range(0, len(named), UNDAMPED):
        await job.to_broker("undamp", agents=named[start : start + UNDAMPED], by=job.user)
    job.desk.mirror.stale("conditions")
    return f"{', '.join(named)} begin anew: what they say to each other waits no more."


async def pause(job: Job) -> str:
    await job.to_broker("pause", **_ALL, by=job.user, reason=f"frozen on the page by {job.user}")
    return "Frozen: no new turn starts; running turns end."


async def unpause(job: Job) -> str:
    await job.to_broker("unpause", **_ALL, by=job.user, reason=f"thawed on the page by {job.user}")
    return "Turns go on."


async def pause_one(job: Job) -> str:
    await job.to_broker(
        "pause", uid=job.uid(), by=job.user, reason=f"paused on the page by {job.user}"
    )
    return f"{job.name} is paused: its messages wait; a running turn ends."


async def unpause_one(job: Job) -> str:
    await job.to_broker("unpause", uid=job.uid(), by=job.user, reason=f"by {job.user}")
    return f"{job.name} goes on."


async def login_start(job: Job) -> str:
    uid = job.uid()
    answer = await job.to_broker("login.start", within=LOGGED_IN, uid=uid, by=job.user)
    job.desk.mirror.login_at(uid, str(answer.get("url", "")))
    return "Log in at the address beside the log, then paste the code here."


async def login_code(job: Job) -> str:
    wish: LoginCode = job.wish
    uid = job.uid()
    asked = {"uid": uid, "code": wish.code, "by": job.user}
    answer = await job.to_broker("login.code", within=LOGGED_IN, **asked)
    job.desk.mirror.login_at(uid, None)
    return one_line(str(answer.get("text", "")), 300) or f"{job.name} is logged in."


async def login_cancel(job: Job) -> str:
    uid = job.uid()
    await job.to_broker("login.cancel", uid=uid, by=job.user)
    job.desk.mirror.login_at(uid, None)
    return "The login is left."
