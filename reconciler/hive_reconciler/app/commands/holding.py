"""hive suspend, resume, pause, unpause."""

from __future__ import annotations

import argparse
from typing import Any

from hive_wire.pages import AGENTS
from hive_wire.paths import Layout

from ..client import CallFailed
from .common import broker, host, me


def suspend(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        reconciler.call("suspend", agent=options.name, reason=options.reason)
    print(f"{_what(options)} is suspended; go on with: hive resume {options.name or ''}".rstrip())
    return 0


def resume(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        reconciler.call("resume", agent=options.name)
    print(f"{_what(options)} is reconciled again")
    return 0


def pause(layout: Layout, options: argparse.Namespace) -> int:
    _set(layout, options)
    print(f"{_what(options)} is paused; go on with: hive unpause {options.name or ''}".rstrip())
    return 0


def unpause(layout: Layout, options: argparse.Namespace) -> int:
    _set(layout, options)
    print(f"{_what(options)} gets its messages again")
    return 0


def _set(layout: Layout, options: argparse.Namespace) -> None:
    with broker(layout) as client:
        uid = None if options.name is None else _uid(client.whole(AGENTS), options.name)
        client.request(options.command, {"uid": uid, "by": me(), "reason": options.reason})


def _uid(answer: dict[str, Any], name: str) -> str:
    found = next((a["uid"] for a in answer["agents"] if a["name"] == name), None)
    if found is None:
        raise CallFailed(f"the broker knows no agent {name!r}; hive status lists them")
    return str(found)


def _what(options: argparse.Namespace) -> str:
    return options.name or "the swarm"
