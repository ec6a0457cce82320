"""A proposal and where it stands. The state is a function of refs and history alone.

What is made for each proposal of a queue is a tuple: thousands are made at the first look.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from .effect import Effect
from .shown import effect_json

Kind = Literal["apply", "spawn", "power", "retire", "revert"]
Ending = Literal["denied", "withdrawn", "rejected", "expired", "superseded"]
State = Literal["open", "merged", "denied", "withdrawn", "rejected", "expired", "superseded"]


class Requester(NamedTuple):
    """Who asks. An agent is known by its uid; a user by the name the kernel or login gave."""

    kind: Literal["agent", "user"]
    name: str
    uid: str | None = None

    @classmethod
    def agent(cls, uid: str, name: str) -> Requester:
        return cls("agent", name, uid)

    @classmethod
    def user(cls, name: str) -> Requester:
        return cls("user", name)

    def __str__(self) -> str:
        return f"agent/{self.name}/{self.uid}" if self.kind == "agent" else f"user/{self.name}"

    @property
    def key(self) -> str:
        """What is the same for all requests of one requester, whatever it is called now."""
        return f"agent/{self.uid}" if self.kind == "agent" else f"user/{self.name}"


class Pinned(NamedTuple):
    """What the tag `proposal/<n>` says; nothing of it ever changes."""

    n: int
    commit: str  # what would be merged
    submitted: str  # what was handed in: the parent of `commit` where a uid was added
    base: str  # the merge base at that time
    kind: Kind
    agent: str
    requester: Requester
    description: str
    created: float  # unix seconds
    source: str = ""  # the inbox branch it came from
    key: str = ""  # how the requester names this wish: asked again, it is this proposal


class Closed(NamedTuple):
    """What the tag `closed/<n>` says."""

    outcome: Ending
    reason: str
    by: str
    at: float  # unix seconds


@dataclass(frozen=True)
class Merged:
    """What the merge on `applied` says."""

    commit: str
    by: str
    at: float  # unix seconds
    requested_by: str
    effect_version: int
    effect_digest: str
    allow_prune: int


class Proposal(NamedTuple):
    pinned: Pinned
    state: State
    reason: str
    by: str
    ended: float | None  # unix seconds
    merge: str | None = None
    needs_rebase: bool = False
    effect: Effect | None = None  # None in lists of ended ones
    problems: tuple[str, ...] = ()  # why it cannot be merged now
    deployed: str | None = None

    @property
    def n(self) -> int:
        return self.pinned.n


def standing(
    pinned: Pinned,
    merges: Mapping[int, Merged],
    closed: Mapping[int, Closed],
    deployed: str | None = None,
) -> Proposal:
    """Where a proposal stands: a merge wins over a closing, and without either it is open."""
    merged = merges.get(pinned.n)
    if merged is not None:
        at = merged.commit
        return Proposal(pinned, "merged", "", merged.by, merged.at, at, deployed=deployed)
    ending = closed.get(pinned.n)
    if ending is not None:
        state, reason = ending.outcome, ending.reason
        return Proposal(pinned, state, reason, ending.by, ending.at, deployed=deployed)
    return Proposal(pinned, "open", "", "", None, deployed=deployed)


def proposal_json(proposal: Proposal) -> dict[str, Any]:
    """`Proposal` as docs/protocol.md has it."""
    pinned = proposal.pinned
    return {
        "n": pinned.n,
        "kind": pinned.kind,
        "agent": pinned.agent,
        "requester": f"{pinned.requester.kind}/{pinned.requester.name}",
        "description": pinned.description,
        "commit": pinned.commit,
        "base": pinned.base,
        "state": proposal.state,
        "created": pinned.created,
        "reason": proposal.reason,
        "by": proposal.by,
        "ended": proposal.ended,
        "needs_rebase": proposal.needs_rebase,
        "problems": len(proposal.problems),
        "effect": None if proposal.effect is None else effect_json(proposal.effect),
        "deployed": proposal.deployed,
    }


def listing(proposals: Iterable[Proposal], room: int = 300 << 10) -> list[dict[str, Any]]:
    """`proposal_json` of each, so that the whole list fits a frame: what comes after `room`
    bytes of JSON is listed without its effect and with cut texts. No requester can make the
    list unreadable; `proposal_json` of one has all."""
    rows = []
    for proposal in proposals:
        row = proposal_json(proposal)
        room -= len(json.dumps(row))
        if room < 0:
            row |= {"effect": None, "description": row["description"][:40]}
            row |= {"reason": row["reason"][:40]}
        rows.append(row)
    return rows
