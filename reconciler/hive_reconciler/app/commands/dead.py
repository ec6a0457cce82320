"""hive dead: letters that were given up, until a person retries or drops them."""

from __future__ import annotations

import argparse
from typing import Any

from hive_wire.pages import DEAD
from hive_wire.paths import Layout

from ..client import CallFailed, Client
from ..plain import line
from .common import broker, me, print_json, print_table


def dead(layout: Layout, options: argparse.Namespace) -> int:
    with broker(layout) as client:
        letters: list[dict[str, Any]] = client.whole(DEAD)["dead"]
        if options.action is not None:
            return _decide(client, letters, options)
    if options.json:
        print_json(letters)
        return 0
    rows = [
        (d["id"], d["agent"], d["message"]["sender"], d["attempts"], d["cause"], _text(d))
        for d in letters
    ]
    if not rows:
        print("no dead letters")
        return 0
    print_table(("ID", "TO", "FROM", "FAILED", "CAUSE", "TEXT"), rows)
    print("\nTry one again with: hive dead retry ID; give it up with: hive dead drop ID")
    return 0


def _decide(client: Client, letters: list[dict[str, Any]], options: argparse.Namespace) -> int:
    """For every agent that the message is dead for."""
    mine = [letter for letter in letters if letter["id"] == options.id]
    if not mine:
        raise CallFailed(f"message {options.id} is not dead; hive dead lists those that are")
    for letter in mine:
        client.call(f"dead.{options.action}", id=options.id, agent=letter["uid"], by=me())
        done = "is tried again" if options.action == "retry" else "is dropped"
        print(f"message {options.id} to {letter['agent']} {done}")
    return 0


def _text(letter: dict[str, Any]) -> str:
    return line(letter["message"]["body"], 60)
