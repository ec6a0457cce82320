"""Who may write to whom, with errors that tell a model what to do instead. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Mapping

from hive_wire.names import EVERYONE, OPERATOR
from hive_wire.protocol import MAX_BODY

HARMLESS = MAX_BODY // 4 - 1  # JSON makes six characters of one at most


class Unaddressable(Exception):
    """The message cannot go there; the words tell the sender what to do."""


def recipients(
    to: str,
    live: Mapping[str, str],
    *,
    sender: str | None = None,
    may_send_to: Collection[str] = (EVERYONE,),
) -> tuple[str, ...]:
    """The uids that get a message to `to`; `live` maps names to uids.

    `sender` is the name of the agent that sends, None for operator and system. The
    operator has no uid: a message to them has no recipients here. Raises Unaddressable.
    """
    if to not in live and to not in (EVERYONE, OPERATOR):
        raise Unaddressable(unknown(to, live))
    if to == sender:
        raise Unaddressable("a message to yourself goes nowhere; use remind to wake up later")
    if EVERYONE not in may_send_to and to not in may_send_to:
        may = ", ".join(sorted(may_send_to)) or "nobody"
        raise Unaddressable(f"you may not write to {to}; you may write to: {may}")
    if to == EVERYONE:
        return tuple(uid for name, uid in live.items() if name != sender)
    return () if to == OPERATOR else (live[to],)


def unknown(name: str, live: Iterable[str]) -> str:
    """Words for a name that no agent has, with near ones."""
    names = sorted(live)
    near = difflib.get_close_matches(name, names, 3, 0.5)
    if near:
        return f"there is no agent {name[:60]!r}; did you mean {' or '.join(near)}?"
    some = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
    return f"there is no agent {name[:60]!r}; there are: {some or 'none yet'}"


def check_body(body: str) -> None:
    """Raises Unaddressable for a body that is empty, over MAX_BODY, or that JSON makes
    so long that it would not fit the frames on its way."""
    if not body or body.isspace():
        raise Unaddressable("the body is empty")
    if len(body) <= HARMLESS // 4:  # UTF-8 makes four bytes of one character at most
        return
    size = len(body.encode("utf-8", "surrogatepass"))
    if size > MAX_BODY:
        raise Unaddressable(
            f"the body has {size} bytes, {MAX_BODY} are the most; "
            "write a summary, or put the rest into a file and say where"
        )
    if size > HARMLESS and len(json.dumps(body, ensure_ascii=False)) > MAX_BODY * 3 // 2:
        raise Unaddressable(
            "the body holds too many control characters or quotes; encode it, or send less"
        )


def preview(body: str) -> str:
    """The beginning of a body for lists, on one line."""
    line = " ".join(body[:400].split())
    return line if len(line) <= 200 else line[:199] + "…"
