"""May the engine use a tool: what is asked, and the rule that would permit it for good. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ONCE, ALWAYS, DENY = "once", "always", "deny"

# Of a command in a rule `*` and `\` have a meaning of their own and parentheses end it.
_LITERAL = re.compile(r"[^()*\\\x00-\x1f\x7f-\x9f]{1,500}")
_TOOL = re.compile(r"[A-Z][A-Za-z]{1,39}")


@dataclass(frozen=True, slots=True)
class Permission:
    """`key` names the ask within its agent; `rule` is one of `tools.allow`, or None."""

    key: str
    turn: str
    tool: str
    input: Mapping[str, Any]
    rule: str | None

    def options(self) -> tuple[str, ...]:
        return (ONCE, DENY) if self.rule is None else (ONCE, DENY, ALWAYS)


def rule_for(tool: str, given: Mapping[str, Any]) -> str | None:
    """The rule that permits just this command, or this tool; None when no rule says that."""
    if _TOOL.fullmatch(tool) is None:
        return None
    if tool != "Bash":
        return tool
    command = given.get("command")
    if not isinstance(command, str) or command != command.strip():
        return None
    # Beyond ASCII, letters may look like others: a person shall not sign what only looks right.
    exact = command.isascii() and _LITERAL.fullmatch(command) is not None
    return f"Bash({command})" if exact else None
