"""Setting one key of agent.toml and leaving everything else as people wrote it."""

from __future__ import annotations

import json
import re
import tomllib

import tomli_w

Scalar = str | int
_TABLE = re.compile(r"^\s*\[")


def set_key(text: str, key: str, value: Scalar) -> str:
    """`text` with `key = value` at top level. `text` must be TOML."""
    wanted = {**tomllib.loads(text), key: value}
    line = tomli_w.dumps({key: value}).rstrip("\n")
    for edited in (_replaced(text, key, line), f"{line}\n{text}"):
        if edited is not None and _loads(edited) == wanted:
            return edited
    return tomli_w.dumps(wanted)  # written in a way that no line of it can be exchanged


def set_in_table(text: str, table: str, key: str, value: list[str]) -> str:
    """`text` with `key = value` in `[table]`. `text` must be TOML."""
    old = tomllib.loads(text)
    wanted = {**old, table: {**old.get(table, {}), key: value}}
    line = f"{key} = {json.dumps(value)}"
    head = rf"^\[{re.escape(table)}\][ \t]*(?:#[^\n]*)?$"
    before = rf"({head}(?:\n(?!\[)[^\n]*)*?\n)"
    below = rf"{before}{re.escape(key)}[ \t]*=[ \t]*\[[^\]\n]*\][ \t]*$"
    for edited in (
        re.sub(below, lambda found: found[1] + line, text, count=1, flags=re.MULTILINE),
        re.sub(head, lambda found: f"{found[0]}\n{line}", text, count=1, flags=re.MULTILINE),
        f"{text.rstrip()}\n\n[{table}]\n{line}\n",
    ):
        if _loads(edited) == wanted:
            return edited
    return tomli_w.dumps(wanted)


def _replaced(text: str, key: str, line: str) -> str | None:
    # What it writes is compared with what others wrote (`policy`), for all times: it stays as it is.
    pattern = re.compile(rf"{re.escape(key)}\s*=[^#\"'\n]*+(?:\"[^\"\n]*\"(?=\s*(?:#|$))|(?=#|$))")
    lines = text.split("\n")
    for number, old in enumerate(lines):
        if _TABLE.match(old):
            return None
        if pattern.match(old):
            lines[number] = pattern.sub(lambda _: line, old, count=1)
            return "\n".join(lines)
    return None


def _loads(text: str) -> object:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError):  # a number of 5000 digits is a ValueError
        return None
