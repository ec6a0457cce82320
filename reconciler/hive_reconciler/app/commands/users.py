"""hive users: who may log in to the page."""

from __future__ import annotations

import argparse
import time

from hive_wire.paths import Layout

from ..client import Client
from .common import print_json, print_table


def users(layout: Layout, options: argparse.Namespace) -> int:
    with Client(layout, "dashboard") as dashboard:
        if options.action == "add":
            dashboard.call("users.add", name=options.name, view_only=options.view_only)
            print(f"{options.name} may log in; a link: hive login --user {options.name}")
        elif options.action == "remove":
            ended = dashboard.call("users.remove", name=options.name)["ended"]
            print(f"{options.name} is removed; {ended} sessions ended")
        else:
            _print(dashboard.call("users.list")["users"], json=options.json)
    return 0


def _print(rows: list[dict[str, object]], *, json: bool) -> None:
    if json:
        print_json(rows)
        return
    print_table(
        ("USER", "MAY", "SINCE", "SESSIONS"),
        [
            (
                str(row["name"]),
                "look" if row["view_only"] else "act",
                time.strftime("%Y-%m-%d", time.localtime(float(str(row["added"])))),
                str(row["sessions"]),
            )
            for row in rows
        ],
    )
