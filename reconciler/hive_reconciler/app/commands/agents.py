"""hive spawn, start, stop, restart, retire, revive, purge, logs."""

from __future__ import annotations

import argparse
import getpass
import time
import tomllib
from typing import Any

from hive_wire.pages import AGENTS
from hive_wire.paths import Layout

from ..client import CallFailed
from ..plain import plain
from .common import broker, host, me, print_submitted

LOG_LINES = 200
FOLLOW_EVERY = 1.0  # seconds


def spawn(layout: Layout, options: argparse.Namespace) -> int:
    settings = dict(_setting(text) for text in options.settings)
    template = settings.pop("template", None)
    with host(layout) as reconciler:
        answer = reconciler.call(
            "spawn",
            name=options.name,
            description=options.description,
            template=template,
            settings=settings or None,
        )
    return print_submitted(answer)


def power(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        return print_submitted(
            reconciler.call("power", agent=options.name, action=options.command, now=options.now)
        )


def retire(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        return print_submitted(reconciler.call("retire", agent=options.name, reason=options.reason))


def revive(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        return print_submitted(reconciler.call("revive", agent=options.name))


def login(layout: Layout, options: argparse.Namespace) -> int:
    """The code is asked for without an echo, and goes nowhere but to the agent."""
    with broker(layout) as client:
        agents = client.whole(AGENTS)["agents"]
        uid = next((agent["uid"] for agent in agents if agent["name"] == options.name), None)
        if uid is None:
            raise CallFailed(f"there is no agent {options.name!r}; hive status lists them")
        print(
            f"log in here: {plain(client.call('login.start', uid=uid, by=me())['url'])}", flush=True
        )
        code = getpass.getpass("the code that you were shown: ").strip()
        if not code:
            client.call("login.cancel", uid=uid, by=me())
            raise CallFailed("no code was given; the login is cancelled")
        print(plain(client.call("login.code", uid=uid, code=code, by=me())["text"]))
    return 0


def purge(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        uids = reconciler.call("purge", agent=options.name)["purged"]
    print(f"{options.name} is purged: state and session of {', '.join(uids)} are gone")
    print("its messages and history stay in the record")
    return 0


def logs(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        shown = _lines(reconciler.call("logs", name=options.name, limit=LOG_LINES))
        _print_lines(shown)
        while options.follow:
            time.sleep(FOLLOW_EVERY)
            lines = _lines(reconciler.call("logs", name=options.name, limit=LOG_LINES))
            _print_lines(news(shown, lines))
            shown = lines
    return 0


def news(before: list[str], after: list[str]) -> list[str]:
    """The lines of `after` that follow what `before` ended with."""
    for start in range(len(before) + 1):
        tail = before[start:]
        if after[: len(tail)] == tail:
            return after[len(tail) :]
    return after


def _setting(text: str) -> tuple[str, Any]:
    """("limits.memory", "4G") of `limits.memory=4G`; the value is TOML, else text."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise CallFailed(f"--set {text}: write KEY=VALUE, as in --set limits.memory=4G")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # a number of 5000 digits is a ValueError
        return key, value


def _print_lines(lines: list[str]) -> None:
    for text in lines:
        print(plain(text), flush=True)


def _lines(answer: dict[str, Any]) -> list[str]:
    return list(answer["lines"])
