"""hive status, doctor, login, reconcile."""

from __future__ import annotations

import argparse
import time
from typing import Any

from hive_wire.pages import STATUS
from hive_wire.paths import Layout

from ...model.plan_text import plan_text
from ..client import CallFailed, Client
from ..plain import line, plain
from .common import broker, host, me, print_json, print_table

WAIT = 300.0  # seconds
STANDS = 3.0  # seconds


def status(layout: Layout, options: argparse.Namespace) -> int:
    found = wait(layout) if options.wait else host(layout).whole(STATUS)
    found["messages"] = _messages(layout)
    if options.json:
        print_json(found)
    else:
        for condition in found["messages"]["conditions"]:
            print(f"!! {condition['type']}: {plain(condition['message'])}")
        print_status(found)
    return 1 if options.wait and not _is_calm(found) else 0


def _messages(layout: Layout) -> dict[str, Any]:
    """How the broker stands; that it is away is a condition, too."""
    try:
        with broker(layout) as client:
            found = client.call("status")
    except CallFailed as error:
        away = {"type": "BrokerAway", "message": error.message, "since": None}
        return {"conditions": [away]}
    return {key: found[key] for key in ("conditions", "open", "dead")}


def doctor(layout: Layout, options: argparse.Namespace) -> int:
    try:
        findings = host(layout).call("doctor")["findings"]
    except CallFailed:  # nothing runs yet: look ourselves
        findings = _own_findings(layout)
    findings += _model_findings(layout)
    if options.json:
        print_json(findings)
    else:
        for finding in findings:
            print(f"{'ok ' if finding['ok'] else '!! '} {finding['what']}: {finding['detail']}")
            if not finding["ok"] and finding["cure"]:
                print(f"      {finding['cure']}")
    return 0 if all(finding["ok"] for finding in findings) else 1


def _model_findings(layout: Layout) -> list[dict[str, Any]]:
    """How the gateway stands. Only an agent with engine "claude" needs what it has."""
    try:
        with Client(layout, "gateway") as gateway:
            found = gateway.call("status")
        engines = {agent["engine"] for agent in host(layout).whole(STATUS)["agents"]}
    except CallFailed:
        return []  # nothing runs yet
    detail = f"{found['url']} with {found['credential'] or 'no credential'}"
    problem = found["problem"] if "claude" in engines else None
    return [{"ok": not problem, "what": "model API", "detail": detail, "cure": problem or ""}]


def login(layout: Layout, options: argparse.Namespace) -> int:
    with Client(layout, "dashboard") as dashboard:
        user = options.user or me()
        print(dashboard.call("login.issue", user=user, view_only=options.view_only)["url"])
    return 0


def reconcile(layout: Layout, options: argparse.Namespace) -> int:
    with host(layout) as reconciler:
        if options.dry_run:
            plan = reconciler.call("plan", rev=options.rev)
        else:
            plan = reconciler.call("reconcile", wait=True)["plan"]
        if plan is None:
            raise CallFailed(f"the round failed: {reconciler.call('status')['stale']}")
    if options.json:
        print_json(plan)
    else:
        print(plain(plan_text(plan)))
    return 2 if options.detailed_exitcode and plan["changes"] else 0


def print_status(found: dict[str, Any]) -> None:
    if found["stale"]:
        print(f"!! {plain(found['stale'])}")
    if found["suspended"]:
        print(f"!! {plain(found['suspended'])}")
    rows = [
        (a["name"], a["role"], a["state"], _ready(a), (a["revision"] or "-")[:12], _notes(a))
        for a in found["agents"]
    ]
    print_table(("NAME", "ROLE", "STATE", "READY", "REVISION", "NOTES"), rows)
    print(f"{found['runtime']} · applied {str(found['applied'])[:12]} · {found['root']}")


def wait(layout: Layout) -> dict[str, Any]:
    """The status as soon as nothing changes any more; stops waiting at what needs a person, once
    it has stood for STANDS seconds: a start has troubles that pass."""
    deadline, since = time.monotonic() + WAIT, None
    with host(layout) as changes, host(layout) as reconciler:
        changes.call("subscribe")
        reconciler.call("reconcile", wait=True)  # the answer knows what was merged before
        while True:
            found: dict[str, Any] = reconciler.whole(STATUS)
            now = time.monotonic()
            since = (since or now) if _needs_a_person(found) else None
            until = deadline if since is None else min(deadline, since + STANDS)
            if _is_calm(found) or now >= until:
                return found
            changes.wait(until - now)


def _needs_a_person(found: dict[str, Any]) -> bool:
    stuck = any(_is(a, "Stalled") or _is(a, "Suspended") for a in found["agents"])
    return bool(found["stale"]) or stuck


def _is_calm(found: dict[str, Any]) -> bool:
    return (
        bool(found["agents"]) and not found["stale"] and all(map(_agent_is_calm, found["agents"]))
    )


def _agent_is_calm(agent: dict[str, Any]) -> bool:
    ready = _is(agent, "Ready") or agent["desired"] == "stopped"
    return (
        ready
        and agent["in_sync"]
        and not any(_is(agent, kind) for kind in ("Reconciling", "Stalled", "Suspended"))
    )


def _is(agent: dict[str, Any], type: str) -> bool:
    return any(c["type"] == type and c["status"] == "True" for c in agent["conditions"])


def _ready(agent: dict[str, Any]) -> str:
    status = {c["type"]: c["status"] for c in agent["conditions"]}.get("Ready", "Unknown")
    return {"True": "yes", "False": "no"}.get(status, "?")


def _notes(agent: dict[str, Any]) -> str:
    """The conditions that a person should know of."""
    bad = {"Ready": "False", "Healthy": "False", "Reconciling": "True", "Stalled": "True"}
    notes = [
        f"{c['type']}/{c['reason']}: {c['message']}"
        if c["message"]
        else f"{c['type']}/{c['reason']}"
        for c in agent["conditions"]
        if bad.get(c["type"], "True") == c["status"] and c["reason"] not in ("Stopped", "Starting")
    ]
    return line("; ".join(notes)) or line(agent["description"])


def _own_findings(layout: Layout) -> list[dict[str, Any]]:
    import asyncio

    from ...runtime.base import RuntimeFailure
    from ...runtime.choose import choose
    from ...runtime.toolchain import claude_finding

    try:
        runtime = choose("auto", layout)
    except RuntimeFailure as error:
        return [{"ok": False, "what": "runtime", "detail": error.message, "cure": ""}]
    findings = asyncio.run(runtime.doctor())
    if runtime.name != "nixos":  # there containers bring their own
        findings += (claude_finding(needed=False),)
    return [vars(finding) for finding in findings]
