"""The text of tags and merges. Requesters' words are JSON strings in it, nothing else.

Every text is ASCII. Whatever people or agents wrote stands inside one JSON line, so it can
form neither a trailer nor a terminal escape.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, get_args

from pydantic_core import from_json

from .proposal import Closed, Ending, Kind, Merged, Pinned, Requester

MAX_DESCRIPTION = 4000  # characters
MAX_REASON = 4000
_WHO = re.compile(r"[A-Za-z0-9_.@+/-][A-Za-z0-9_.@+/ -]{0,119}")
_TRAILER = re.compile(r"^([A-Z][A-Za-z-]*): (.*)$", re.MULTILINE)
_CLOSED = re.compile(
    r"closed ([1-9][0-9]*)\n\nOutcome: ([a-z]+)\nBy: (.*)\nAt: ([0-9.e+-]+)\nReason: (\".*\")\n"
)
_KINDS, _ENDINGS = frozenset(get_args(Kind)), frozenset(get_args(Ending))


class BadRecord(ValueError):
    """A tag or merge that this program did not write."""


@dataclass(frozen=True)
class Merge:
    """The trailers of a merge."""

    proposal: int
    requested_by: str
    approved_by: str
    effect_version: int
    effect_digest: str
    allow_prune: int = 0
    signature: str = ""  # of approval_text, by a person's key: base64 without armour


def who_problem(who: str) -> str | None:
    """What is wrong with a name that shall stand in a trailer."""
    if _WHO.fullmatch(who):
        return None
    return f"{who[:60]!r} is no name of a user: letters, digits and _.@+/- only"


def merge_message(merge: Merge) -> str:
    """Ids and fixed trailers only."""
    lines = [
        f"Merge proposal {merge.proposal}",
        "",
        f"Proposal-Id: {merge.proposal}",
        f"Requested-by: {merge.requested_by}",
        f"Approved-by: {merge.approved_by}",
        f"Effect-Version: {merge.effect_version}",
        f"Effect-Digest: {merge.effect_digest}",
    ]
    if merge.allow_prune:
        lines.append(f"Allow-Prune: {merge.allow_prune}")
    if merge.signature:
        lines.append(f"Operator-Signature: {merge.signature}")
    return "\n".join(lines) + "\n"


def parse_merge(message: str) -> Merge:
    """Raises BadRecord unless `message` is exactly what merge_message writes."""
    values = _trailers(message)
    try:
        merge = Merge(
            int(values["Proposal-Id"]),
            values["Requested-by"],
            values["Approved-by"],
            int(values["Effect-Version"]),
            values["Effect-Digest"],
            int(values.get("Allow-Prune", "0")),
            values.get("Operator-Signature", ""),
        )
    except (KeyError, ValueError):
        raise BadRecord("its message has not the trailers of a merge") from None
    if merge_message(merge) != message:
        raise BadRecord("its message is not that of a merge")
    return merge


def approval_text(n: int, commit: str, version: int, digest: str, allow_prune: int) -> str:
    """What a person signs: this commit with this effect, and nothing else."""
    return (
        f"Approve proposal {n}\n\nCommit: {commit}\nEffect-Version: {version}\n"
        f"Effect-Digest: {digest}\nAllow-Prune: {allow_prune}\n"
    )


def merged(merge: Merge, commit: str, at: float) -> Merged:
    return Merged(
        commit,
        merge.approved_by,
        at,
        merge.requested_by,
        merge.effect_version,
        merge.effect_digest,
        merge.allow_prune,
    )


def proposal_message(pinned: Pinned) -> str:
    body = {
        "agent": pinned.agent,
        "base": pinned.base,
        "created": pinned.created,
        "description": pinned.description[:MAX_DESCRIPTION],
        "kind": pinned.kind,
        "requester": {
            "kind": pinned.requester.kind,
            "name": pinned.requester.name,
            "uid": pinned.requester.uid,
        },
        "source": pinned.source,
        "submitted": pinned.submitted,
        **({"key": pinned.key} if pinned.key else {}),
    }
    return f"proposal {pinned.n}\n\n{_line(body)}\n"


def parse_proposal(n: int, commit: str, message: str) -> Pinned:
    """Raises BadRecord."""
    try:
        head, _, line = message.partition("\n\n")
        if head != f"proposal {n}":
            raise BadRecord(f"proposal/{n} has the record of another")
        body = from_json(line)
        kind, requester = body["kind"], body["requester"]
        if kind not in _KINDS:
            raise BadRecord(f"proposal/{n} is of an unknown kind")
        return Pinned(
            n,
            commit,
            body["submitted"],
            body["base"],
            kind,
            body["agent"],
            Requester(requester["kind"], requester["name"], requester["uid"]),
            body["description"],
            body["created"],
            body["source"],
            body.get("key", ""),
        )
    except BadRecord:
        raise
    except (KeyError, TypeError, ValueError):
        raise BadRecord(f"proposal/{n} is no proposal that this program pinned") from None


def closed_message(n: int, closed: Closed) -> str:
    return (
        f"closed {n}\n\nOutcome: {closed.outcome}\nBy: {closed.by}\n"
        f"At: {closed.at!r}\nReason: {_line(closed.reason[:MAX_REASON])}\n"
    )


def parse_closed(n: int, message: str) -> Closed:
    """Raises BadRecord unless `message` has the form that closed_message writes."""
    found = _CLOSED.fullmatch(message)
    if found is None or found[1] != str(n):
        raise BadRecord(f"closed/{n} is no ending that this program wrote")
    _, outcome, by, at, reason = found.groups()
    if outcome not in _ENDINGS:
        raise BadRecord(f"closed/{n} has an unknown outcome")
    try:
        return Closed(outcome, from_json(reason), by, float(at))  # type: ignore[arg-type]
    except ValueError:
        raise BadRecord(f"closed/{n} is no ending that this program wrote") from None


def accepted_message(oid: str, who: str, why: str) -> str:
    return f"accepted {oid}\n\nBy: {who}\nReason: {_line(why[:MAX_REASON])}\n"


def _trailers(message: str) -> dict[str, str]:
    return dict(_TRAILER.findall(message))


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
