"""The line that puts a prompt to the engine, so that nothing in it is a command. Pure."""

from __future__ import annotations

import re
from typing import Any

from .version import Version

MENTIONS_OFF: Version = (2, 1, 330)  # before it, @ at a word's start puts a file into the prompt
_MENTION = re.compile(r"(?<!\S)@")


def user_line(text: str, ident: str, version: Version) -> dict[str, Any]:
    """`ident` is the uuid by which the engine knows the line again.

    What others wrote is taken as written: no slash command, no file mention.
    """
    if version < MENTIONS_OFF:
        text = _MENTION.sub(r"\\@", text)
    return {
        "type": "user",
        "uuid": ident,
        "session_id": "",
        "parent_tool_use_id": None,
        "client_composed": not text.startswith("/"),
        "message": {"role": "user", "content": text},
    }
