"""Finds what of this host runs inside containers. Blocks: call it in a thread."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..model.version import VERSION
from ..runtime.base import Bind
from ..runtime.toolchain import NoTool, claude_binds, harness_binds, interpreter_binds
from .containers import Toolchain

CLAUDE_VARIABLE = "HIVE_CLAUDE"
CURE = "install it: npm install -g @anthropic-ai/claude-code, or set HIVE_CLAUDE to its binary"


FLAKE_VARIABLE = "HIVE_FLAKE"


def of_nixos() -> Toolchain:
    """Containers under NixOS bring their own: another hyperhive is what needs a restart."""
    key = f"{VERSION} {os.environ.get(FLAKE_VARIABLE, '')}"
    return Toolchain(key, ("/run/current-system/sw/bin/hive-harness",), (), ())


class ToolchainFinder:
    """Looks each time, so that a CLI installed later is found without a restart of ours."""

    def __init__(self) -> None:
        self._claude: tuple[tuple[str, int], tuple[Bind, ...]] | None = None

    def __call__(self) -> Toolchain:
        """Raises NoTool when not even the harness can be run."""
        prefix, python = interpreter_binds()
        environment, harness = harness_binds()
        argv = (*prefix, "-S", "-m", "hive_harness")  # of site-packages it needs nothing
        try:
            claude, problem = self._find_claude(), ""
        except (NoTool, OSError) as error:
            claude, problem = (), str(error)
        key = f"{VERSION} {' '.join(argv)}"
        return Toolchain(key, argv, environment, (*python, *harness), claude, problem)

    def _find_claude(self) -> tuple[Bind, ...]:
        given = os.environ.get(CLAUDE_VARIABLE) or shutil.which("claude")
        if not given:
            raise NoTool(f"the Claude Code CLI is not on this machine; {CURE}")
        path = os.path.realpath(given)
        stamp = (path, os.stat(path).st_mtime_ns)
        if self._claude is None or self._claude[0] != stamp:
            self._claude = (stamp, claude_binds(Path(path)))
        return self._claude[1]
