"""What people do from the pages: each action asks one process and says what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hive_wire.jsonrpc import (
    BUSY,
    CONFLICT,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    NOT_FOUND,
    REFUSED,
    UNAVAILABLE,
    RpcError,
)

from ..live.backends import Backend
from ..live.mirror import Mirror
from ..text import one_line
from .wishes import (
    Answer,
    Approve,
    Command,
    Dead,
    Deny,
    Power,
    Prompt,
    Send,
    Spawn,
)

_STATUS = {
    CONFLICT: 409,
    NOT_FOUND: 404,
    REFUSED: 403,
    BUSY: 503,
    UNAVAILABLE: 503,
    INVALID_PARAMS: 422,
    INTERNAL_ERROR: 502,
}
_ALL: dict[str, Any] = {"uid": None}  # every agent


class Failed(Exception):
    """An action that did not work: HTTP status, words, and for a moved effect what changed."""

    def __init__(self, status: int, message: str, changed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.changed = changed


@dataclass(frozen=True)
class Desk:
    """Where actions find the other processes."""

    host: Backend
    broker: Backend
    mirror: Mirror


@dataclass(frozen=True)
class Job:
    """One action: the wish, who wishes it, and the parts of the address."""

    desk: Desk
    wish: Any
    user: str
    path: dict[str, str]

    @property
    def n(self) -> int:
        return int(self.path["n"])

    @property
    def name(self) -> str:
        return self.path["name"]

    def uid(self) -> str:
        """Of the agent in the address. Raises Failed."""
        status = self.desk.mirror.snapshot.agents.get(self.name)
        if status is None:
            raise Failed(404, f"The broker knows no agent {self.name!r}.")
        return status.uid

    async def tell(self, backend: Backend, method: str, **params: Any) -> dict[str, Any]:
        """Raises Failed."""
        given = {k: v for k, v in params.items() if v is not None or k == "uid"}
        try:
            answer = await backend.ask(method, **given)
        except RpcError as error:
            raise _failed(backend, error) from None
        except TimeoutError:
            raise Failed(
                504,
                f"The {backend.title} did not answer within 20 s. It may still be "
                "done: look before you try again.",
            ) from None
        return answer if isinstance(answer, dict) else {}

    async def to_host(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.tell(self.desk.host, method, on_behalf=self.user, **params)

    async def to_broker(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.tell(self.desk.broker, method, **params)


def _failed(backend: Backend, error: RpcError) -> Failed:
    if error.code == UNAVAILABLE and not backend.is_up:
        return Failed(
            503,
            f"The {backend.title} is away, so nothing was done. Your text is kept: "
            "try again when it is back.",
        )
    return Failed(_STATUS.get(error.code, 502), error.message, _changed(error.data))


def _changed(data: Any) -> tuple[str, ...]:
    """What moved, in words, from the data of a conflict."""
    found = data.get("changed") if isinstance(data, dict) else None
    if isinstance(found, str):
        return (found,)
    if isinstance(found, dict):
        return tuple(f"{key}: {one_line(str(value), 300)}" for key, value in found.items())
    lines = []
    for item in found if isinstance(found, list) else []:
        if isinstance(item, dict):
            where = ".".join(filter(None, [item.get("agent"), item.get("field")]))
            lines.append(one_line(f"{where} {item.get('text') or item}", 300))
        else:
            lines.append(one_line(str(item), 300))
    return tuple(lines)


async def approve(job: Job) -> str:
    wish: Approve = job.wish
    answer = await job.to_host("approve", n=job.n, effect=wish.effect, allow_prune=wish.allow_prune)
    return f"#{job.n} is approved and merged as {str(answer.get('commit', ''))[:7]}."


async def deny(job: Job) -> str:
    wish: Deny = job.wish
    await job.to_host("deny", n=job.n, reason=wish.reason)
    return f"#{job.n} is denied; the requester is told why."


async def spawn(job: Job) -> str:
    wish: Spawn = job.wish
    answer = await job.to_host(
        "spawn",
        name=wish.name,
        description=wish.description,
        template=wish.template,
        prompt=wish.prompt,
    )
    said = one_line(str(answer.get("message", "")), 300)
    if answer.get("state") == "rejected":
        raise Failed(422, f"Proposal #{answer.get('proposal')} was rejected: {said}")
    return f"Proposal #{answer.get('proposal')} to spawn {wish.name} waits for approval. {said}"


async def send(job: Job) -> str:
    wish: Send = job.wish
    await job.to_broker(
        "send", to=wish.to, body=wish.body, by=job.user, in_reply_to=wish.in_reply_to
    )
    return f"Sent to {wish.to}."


async def prompt(job: Job) -> str:
    wish: Prompt = job.wish
    await job.to_broker("send", to=job.name, body=wish.body, by=job.user)
    return f"Sent to {job.name}."


async def answer(job: Job) -> str:
    wish: Answer = job.wish
    if not wish.text and not wish.choice:
        raise Failed(422, "Pick an option or write an answer.")
    await job.to_broker(
        "answer", id=job.n, by=job.user, text=wish.text, choices=list(wish.choice) or None
    )
    return "Answered."


async def hold(job: Job) -> str:
    await job.to_broker("question.hold", id=job.n)
    return "The time stands still while you type."


async def power(job: Job) -> str:
    wish: Power = job.wish
    answer = await job.to_host("power", agent=job.name, action=wish.action)
    said = one_line(str(answer.get("message", "")), 300)
    if answer.get("state") == "rejected":
        raise Failed(422, said or f"{wish.action} {job.name} was refused.")
    return said or f"{wish.action} {job.name}: asked."


async def command(job: Job) -> str:
    wish: Command = job.wish
    answer = await job.to_broker(
        "command", uid=job.uid(), command=wish.command, argument=wish.argument, by=job.user
    )
    return one_line(str(answer.get("text", "")), 1000) or f"/{wish.command}: done."


async def dead_retry(job: Job) -> str:
    wish: Dead = job.wish
    await job.to_broker("dead.retry", id=job.n, agent=wish.agent, by=job.user)
    return f"The message goes to {wish.agent} again."


async def dead_drop(job: Job) -> str:
    wish: Dead = job.wish
    await job.to_broker("dead.drop", id=job.n, agent=wish.agent, by=job.user)
    return "The message is dropped."


async def pause(job: Job) -> str:
    await job.to_broker("pause", **_ALL, by=job.user, reason=f"frozen on the page by {job.user}")
    return "Frozen: no new turn starts; running turns end."


async def unpause(job: Job) -> str:
    await job.to_broker("unpause", **_ALL, by=job.user, reason=f"thawed on the page by {job.user}")
    return "Turns go on."
