"""What the broker takes of turns and sessions, checked by hand: it refuses a whole hello for one
that is wrong, and the agent can write where they are kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from .verdict import LATEST, MOST, MOST_USD, Usage

MAX_LABEL, MAX_DETAIL = 200, 4000  # characters
MAX_CALLS = 10_000  # names of them

_TURN = re.compile(r"[1-9][0-9]{0,18}\.[1-9][0-9]{0,5}")
_CALL = re.compile(rf"{_TURN.pattern}:[0-9]{{1,10}}")
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")  # a word of a command, too

Check = Callable[[Any], bool]


def is_turn(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _TURN.fullmatch(value) is not None


def is_call(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _CALL.fullmatch(value) is not None


def is_session(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _SESSION.fullmatch(value) is not None


def is_end(event: Mapping[str, Any]) -> bool:
    """Whether it is a `TurnEnd` of docs/protocol.md."""
    return {"turn", "outcome"} <= event.keys() and _fits(event, _END)


def _fits(values: Mapping[str, Any], checks: Mapping[str, Check]) -> bool:
    return all(key in checks and checks[key](value) for key, value in values.items())


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _text(most: int) -> Check:
    return lambda value: isinstance(value, str) and len(value) <= most


def _number(most: float) -> Check:
    return lambda value: type(value) in (int, float) and 0 <= value <= most


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _usage(value: Any) -> bool:
    return isinstance(value, dict) and _fits(
        value, dict.fromkeys(Usage.__dataclass_fields__, _count)
    )


def _calls(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_CALLS and all(map(is_call, value))


_END: dict[str, Check] = {
    "turn": is_turn,
    "outcome": lambda value: value in ("ok", "failed", "cancelled"),
    "counted": _flag,
    "cause": _text(MAX_LABEL),
    "detail": _text(MAX_DETAIL),
    "retry_at": _or_none(_number(LATEST)),
    "session": _or_none(is_session),
    "discarded": _flag,
    "usage": _usage,
    "cost_usd": _number(MOST_USD),
    "duration_ms": _count,
    "context": _count,
    "window": _count,
    "unseen": _calls,
}
