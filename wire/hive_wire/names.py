"""Names and uids of agents. A name is a label in git; a uid is the agent's identity."""

from __future__ import annotations

import re
import secrets

# 9 characters, so that `h-<name>` fits the 11 of NixOS containers.
NAME = re.compile(r"[a-z]([a-z0-9-]{0,7}[a-z0-9])?")
RESERVED = frozenset({"operator", "system", "all", "everyone", "hive"})
UID = re.compile(r"[a-z0-9]{12}")
UID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"

OPERATOR = "operator"
EVERYONE = "everyone"
SYSTEM = "system"
DEFAULT_MANAGER = "hm1nd"


def name_problem(name: str) -> str | None:
    """What is wrong with an agent's name, for a person; None when it is fine."""
    if name in RESERVED:
        return f"the name {name!r} is reserved: {', '.join(sorted(RESERVED))} are not agents"
    if not NAME.fullmatch(name):
        return (
            f"{name[:60]!r} is no agent name: 1 to 9 characters of a-z, 0-9 and '-', "
            "starting with a letter, not ending with '-'"
        )
    return None


def is_name(name: str) -> bool:
    return name_problem(name) is None


def new_uid() -> str:
    """A fresh uid: 12 characters, 62 bits."""
    return "".join(secrets.choice(UID_ALPHABET) for _ in range(12))


def is_uid(uid: str) -> bool:
    return UID.fullmatch(uid) is not None


def container_name(name: str, role: str) -> str:
    """The container that runs the agent: `hm1nd` for the manager, `h-<name>` for others."""
    return name if role == "manager" else f"h-{name}"
