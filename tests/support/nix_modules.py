"""Our modules in a nix of our own: what they declare, and what they make of settings."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Literal

from .nix_env import Nix

_SERVICES = {"host": "hive-c0re", "agent": "hive-agent"}


def evaluate(
    nix: Nix,
    source: Path,
    kind: str,
    options: dict[str, Any],
    library: Path | None,
    *,
    what: Literal["configuration", "options"] = "configuration",
    system: dict[str, Any] | None = None,
) -> subprocess.CompletedProcess[str]:
    """`what` of tests/nix/stub/eval.nix as JSON; `library` is a lib of nixpkgs, None our own;
    `system` is set beside our options."""
    argv = ["nix-instantiate", "--eval", "--strict", "--json", "/src/tests/nix/stub/eval.nix"]
    argv += ["--attr", what, "--arg", "module", f"/src/modules/{kind}.nix"]
    settings = {"services": {_SERVICES[kind]: options}, "system": system or {}}
    argv += ["--argstr", "settings", json.dumps(settings)]
    binds = {source: "/src"}
    if library is not None:
        binds[library] = "/lib-real"
        argv += ["--arg", "libPath", "/lib-real"]
    return nix.run(*argv, binds=binds)
