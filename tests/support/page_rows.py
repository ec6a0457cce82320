"""Rows as reconciler and broker answer them, with whatever a test wants other."""

from __future__ import annotations

import time
from typing import Any

Json = dict[str, Any]
UIDS = {"hm1nd": "aaaaaaaaaaaa", "scout": "bbbbbbbbbbbb", "mallory": "cccccccccccc"}


def host_agent(name: str, **more: Any) -> Json:
    return {
        "name": name,
        "uid": UIDS[name],
        "role": "agent",
        "engine": "rehearsal",
        "container": name if name == "hm1nd" else f"h-{name}",
        "description": "",
        "desired": "running",
        "state": "running",
        "revision": "9f3c1a2b77",
        "running_revision": "9f3c1a2b77",
        "in_sync": True,
        "conditions": [
            {
                "type": "Ready",
                "status": True,
                "reason": "Hello",
                "message": "",
                "since": time.time(),
            }
        ],
        "web_port": None,
        "tasks": 4,
        "memory": 42 << 20,
        **more,
    }


def agent_status(name: str, **more: Any) -> Json:
    return {
        "uid": UIDS[name],
        "name": name,
        "ready": True,
        "boot": None,
        "state": "idle",
        "since": time.time() - 62,
        "detail": "",
        "until": None,
        "turn": None,
        "queued": 0,
        "dead": 0,
        "held": False,
        "fenced": False,
        "paused": False,
        "last_event": 0,
        "last_seen": time.time(),
        "engine_pids": None,
        **more,
    }


def line(kind: str, old: int | None, new: int | None, text: str) -> Json:
    return {"kind": kind, "old": old, "new": new, "text": text}


TOML = {
    "path": "agents/scout/agent.toml",
    "status": "modified",
    "old_mode": 33188,
    "new_mode": 33188,
    "added": 2,
    "removed": 1,
    "binary": False,
    "hunks": [
        [
            line(" ", 1, 1, 'role = "agent"'),
            line("-", 2, None, 'description = "reads the news"'),
            line("+", None, 2, 'description = "reads the papers" # quietly'),
            line(" ", 3, 3, "[limits]"),
            line("+", None, 4, 'memory = "3G"'),
        ]
    ],
}
NIX = {
    "path": "agents/scout/agent.nix",
    "status": "added",
    "old_mode": None,
    "new_mode": 33188,
    "added": 3,
    "removed": 0,
    "binary": False,
    "hunks": [
        [
            line("+", None, 1, "{ pkgs, ... }: {"),
            line("+", None, 2, '  environment.systemPackages = [ pkgs.jq ]; # "tools"'),
            line("+", None, 3, "}"),
        ]
    ],
}


def proposal(
    n: int, *, digest: str = "ab" * 32, files: list[Json] | None = None, **more: Any
) -> Json:
    row = {
        "n": n,
        "kind": "apply",
        "agent": "scout",
        "requester": "agent/hm1nd",
        "description": "give scout more memory",
        "commit": "9f3c1a2" + "0" * 33,
        "base": "77d0e4b" + "0" * 33,
        "state": "open",
        "created": time.time() - 480,
        "reason": None,
        "by": None,
        "ended": None,
        "needs_rebase": False,
        "deployed": None,
        "effect": {
            "digest": digest,
            "version": 1,
            "files": [],
            "changes": [
                {
                    "agent": "scout",
                    "field": "description",
                    "before": "reads the news",
                    "after": "reads the papers",
                    "risk": "low",
                    "text": "",
                },
                {
                    "agent": "scout",
                    "field": "limits.memory",
                    "before": "2G",
                    "after": "3G",
                    "risk": "high",
                    "text": "scout: limits.memory 2G → 3G",
                },
            ],
            "actions": [{"kind": "update", "agent": "scout", "reason": "limits.memory changed"}],
        },
        **more,
    }
    return {
        "row": row,
        "diff": files if files is not None else [TOML, NIX],
        "diff_left_out": 0,
        "checks": [],
        "build": None,
    }
