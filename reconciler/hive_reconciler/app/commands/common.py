"""What several commands share: connections, and output for people."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from hive_wire.paths import Layout

from ..client import Client
from ..plain import columns, line, plain


def host(layout: Layout) -> Client:
    return Client(layout, "reconciler")


def broker(layout: Layout) -> Client:
    return Client(layout, "broker")


def me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, sort_keys=True))


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as needed; the last one may be long."""
    texts = [list(head), *([line(cell) for cell in row] for row in rows)]
    widths = [max(columns(row[i]) for row in texts) for i in range(len(head))]
    for row in texts:
        cells = [
            cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())


def print_submitted(answer: dict[str, Any]) -> int:
    """What became of a request; the exit status."""
    text = plain(answer["message"])
    print(text if text.startswith("proposal") else f"proposal {answer['proposal']}: {text}")
    return 1 if answer["state"] == "rejected" else 0


def ago(at: float | None) -> str:
    """How long ago, in the largest fitting unit."""
    if at is None:
        return "-"
    seconds = max(0, int(time.time() - at))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
