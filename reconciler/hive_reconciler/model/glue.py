"""flake.nix and flake.lock of an applied repository: what Nix users build a swarm through. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .checks import Problem

FLAKE, LOCK = "flake.nix", "flake.lock"
LOCK_VERSION = 7

_FLAKE = """{
  description = "A swarm of hyperhive agents";

  # A host builds with its own hyperhive in place of this one (services.hive-c0re.hyperhiveFlake).
  inputs.hyperhive.url = "flake:hyperhive";

  outputs =
    { hyperhive, ... }:
    {
      nixosConfigurations = hyperhive.lib.mkSwarm {
        src = ./.;
        system = "@system@";
      };
    };
}
"""


def flake_nix(machine: str) -> str:
    """The glue for a machine's name of its processor, as `uname -m` says it."""
    return _FLAKE.replace("@system@", f"{machine}-linux")


def flake_lock() -> str:
    """Pins nothing: hyperhive is the host's, and brings its nixpkgs."""
    lock = {"nodes": {"root": {}}, "root": "root", "version": LOCK_VERSION}
    return json.dumps(lock, indent=2, sort_keys=True) + "\n"


def glue_problems(flake: bytes | None, lock: bytes | None) -> list[Problem]:
    """What would keep every agent from being built, or let what is built change by itself."""
    if lock is None:
        return []
    if flake is None:
        return [Problem(LOCK, f"locks the inputs of {FLAKE}, which is not there")]
    try:
        nodes = _nodes(json.loads(lock))
    except (ValueError, KeyError, TypeError, AttributeError):
        return [Problem(LOCK, "is no lock that nix has written; see `nix flake lock`")]
    return [
        Problem(LOCK, f"does not pin {name!r}: no narHash; `nix flake lock` writes it")
        for name, node in sorted(nodes.items())
        if not _pinned(node)
    ]


def _nodes(lock: Any) -> Mapping[str, Mapping[str, Any]]:
    """All but the root's. Raises ValueError and what comes of other shapes."""
    if lock["version"] != LOCK_VERSION:
        raise ValueError("another version")
    nodes = dict(lock["nodes"])
    del nodes[lock["root"]]
    return {str(name): {**node} for name, node in nodes.items()}


def _pinned(node: Mapping[str, Any]) -> bool:
    locked = node.get("locked")
    if not isinstance(locked, dict):
        return False
    own = locked.get("type") == "path" and not str(locked.get("path", "/")).startswith("/")
    return own or str(locked.get("narHash", "")).startswith("sha256-")
