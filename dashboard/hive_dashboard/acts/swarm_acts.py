"""What people do to proposals and containers: each asks the reconciler and says what came of it."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from ..live.models import ProposalDetail
from ..text import one_line, plural
from .job import Failed, Job
from .wishes import Approve, Deny, Power, Purge, Reason, Spawn


async def approve(job: Job) -> str:
    wish: Approve = job.wish
    _check_looked(job.n, wish, await _detail(job, wish.effect))
    answer = await job.to_host("approve", n=job.n, effect=wish.effect, allow_prune=wish.allow_prune)
    return f"#{job.n} is approved and merged as {str(answer.get('commit', ''))[:7]}."


async def _detail(job: Job, digest: str) -> ProposalDetail:
    """That with the effect to approve: the mirror keeps those of the first open ones only, and
    may be behind. Raises Failed."""
    kept = job.desk.mirror.snapshot.details.get(job.n)
    effect = kept.detail.proposal.effect if kept is not None else None
    if kept is not None and effect is not None and effect.digest == digest:
        return kept.detail
    answer = await job.tell(job.desk.host, "proposal", n=job.n)
    try:
        return ProposalDetail.of(answer)
    except ValidationError:
        words = f"What hive-c0re says of #{job.n} was not understood, so nothing was approved."
        raise Failed(502, f"{words} Is the page of another version?") from None


def _check_looked(n: int, wish: Approve, detail: ProposalDetail) -> None:
    """A number that was typed is that of the agents which go, or the reader looked elsewhere.
    Over the prune guard there must be one: without it the merge would delete nothing. And what
    the card leaves out must have been looked at."""
    gone = 0 if detail.proposal.effect is None else detail.proposal.effect.deletions
    if wish.allow_prune is None and detail.is_over_the_guard:
        raise Failed(422, f"#{n} deletes {plural(gone, 'agent')}: type the number.")
    if wish.allow_prune not in (None, gone):
        raise Failed(422, f"#{n} deletes {gone} agents, you typed {wish.allow_prune}.")
    if detail.is_short and not wish.looked:
        raise Failed(422, f"#{n} is more than its card shows: look at all of it, and say so.")


async def deny(job: Job) -> str:
    wish: Deny = job.wish
    await job.to_host("deny", n=job.n, reason=wish.reason)
    return f"#{job.n} is denied; the requester is told why."


async def withdraw(job: Job) -> str:
    await job.to_host("withdraw", n=job.n)
    return f"#{job.n} is withdrawn."


async def changes(job: Job) -> str:
    """A message to the agent that asked; the proposal stays open."""
    wish: Deny = job.wish
    answer = await job.to_host("proposal", n=job.n)
    kind, _, name = str(answer.get("requester", "")).partition("/")
    if kind != "agent" or not name:
        raise Failed(422, f"#{job.n} was not asked for by an agent: deny it with a reason.")
    body = f"About proposal {job.n}: please change it and ask again.\n\n{wish.reason}"
    await job.to_broker("send", to=name, body=body, by=job.user)
    return f"{name} is asked to change #{job.n}; it stays open until another one replaces it."


async def spawn(job: Job) -> str:
    wish: Spawn = job.wish
    answer = await job.to_host(
        "spawn",
        name=wish.name,
        description=wish.description,
        template=wish.template,
        prompt=wish.prompt,
    )
    return _asked(answer, f"spawn {wish.name}")


async def revert(job: Job) -> str:
    wish: Reason = job.wish
    return _asked(
        await job.to_host("revert", what=job.n, reason=wish.reason), f"take #{job.n} back"
    )


async def retire(job: Job) -> str:
    wish: Reason = job.wish
    return _asked(
        await job.to_host("retire", agent=job.name, reason=wish.reason), f"retire {job.name}"
    )


async def revive(job: Job) -> str:
    return _asked(await job.to_host("revive", agent=job.name), f"revive {job.name}")


async def purge(job: Job) -> str:
    wish: Purge = job.wish
    if wish.confirm != job.name:
        raise Failed(422, f"Type {job.name} to remove all that is kept of it.")
    await job.to_host("purge", agent=wish.uid)
    return f"All that was kept of {job.name} is removed."


async def power(job: Job) -> str:
    wish: Power = job.wish
    answer = await job.to_host("power", agent=job.name, action=wish.action)
    said = one_line(str(answer.get("message", "")), 300)
    if answer.get("state") == "rejected":
        raise Failed(422, said or f"{wish.action} {job.name} was refused.")
    return said or f"{wish.action} {job.name}: asked."


def _asked(answer: dict[str, Any], what: str) -> str:
    n, said = answer.get("proposal"), one_line(str(answer.get("message", "")), 300)
    if answer.get("state") == "rejected":
        raise Failed(422, f"Proposal #{n} was rejected: {said}")
    if answer.get("state") == "merged":
        return f"Proposal #{n} to {what} is merged. {said}"
    return f"Proposal #{n} to {what} waits for approval. {said}"
