"""hive top: the swarm in a terminal, as it happens."""

from __future__ import annotations

import argparse
import sys

from hive_wire.paths import Layout

from ..client import CallFailed, Client
from ..watching import Feed, Trouble
from .common import me


def top(layout: Layout, options: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CallFailed("hive top needs a terminal; for one look: hive status")
    login_link(layout)  # says at once, and outside the screen, that nothing runs
    from ..screen import Top  # Textual, which takes half a second

    Top(lambda show: Feed(lambda: _link(layout), show)).run()
    return 0


def login_link(layout: Layout) -> str:
    """Raises CallFailed."""
    with Client(layout, "dashboard", timeout=10) as dashboard:
        return str(dashboard.call("login.issue", user=me(), view_only=False)["url"])


def _link(layout: Layout) -> str:
    try:
        return login_link(layout)
    except CallFailed as error:
        raise Trouble(error.message) from None
