"""Where the harness finds things. The defaults are those of a container; tests say others."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hive_wire.paths import (
    AGENT_FILE,
    CONTAINER_APPLIED,
    CONTAINER_CLAUDE,
    CONTAINER_REHEARSAL,
    CONTAINER_RUN,
    CONTAINER_STATE,
)

CLONE = CONTAINER_STATE / "hive"


@dataclass(frozen=True)
class Settings:
    """Paths, and the times that a test must be able to shorten (seconds)."""

    run: Path
    state: Path
    claude_config: Path
    applied: Path
    hive: Path  # the manager's clone
    rehearsal: Path  # scripts of people
    engine_path: Path
    engine_mib: int  # an engine that holds more memory is started anew between turns
    engine_turns: int  # so is one that played as many turns
    idle_stop: float  # an engine without a turn is stopped after this
    notes_after: float  # after this rest notes are taken, should it become a long one
    stall_after: float  # an engine that says nothing for this long hangs
    ask_within: float  # a permission that nobody gives within this is denied

    @property
    def agent_file(self) -> Path:
        return self.run / AGENT_FILE

    @property
    def commands(self) -> Path:
        """Commands of ours, on the PATH of the engine and of what it starts."""
        return self.state / ".hive" / "bin"

    @property
    def harness_sock(self) -> Path:
        return self.run / "harness.sock"

    @property
    def mcp_sock(self) -> Path:
        return self.run / "mcp.sock"

    @property
    def model_sock(self) -> Path:
        return self.run / "model" / "model.sock"

    @property
    def spool(self) -> Path:
        return self.state / ".hive"

    @property
    def agents(self) -> Path:
        """The agents' directories as the manager sees them."""
        in_container = self.hive == CLONE and Path("/agents").is_symlink()
        return Path("/agents") if in_container else self.hive / "agents"


def parse(argv: Sequence[str] | None = None) -> Settings:
    """The settings of a command line; a wrong one exits with 2 and a usage line."""
    options = argparse.ArgumentParser(
        prog="hive-harness", description="Turns messages into turns of one model session."
    )
    path = options.add_argument
    path("--run", type=Path, default=CONTAINER_RUN, help="the sockets and agent.json")
    path("--state", type=Path, default=CONTAINER_STATE, help="what the agent keeps")
    path("--claude-config", type=Path, default=CONTAINER_CLAUDE, help="the engine's own files")
    path("--applied", type=Path, default=CONTAINER_APPLIED, help="the manager's view of hive.git")
    path("--hive", type=Path, default=CLONE, help="the manager's clone")
    path("--rehearsal", type=Path, default=CONTAINER_REHEARSAL, help="scripts to rehearse")
    path("--engine-path", type=Path, default=Path("/opt/claude/claude"), help="the claude binary")
    path("--engine-mib", type=int, default=700, metavar="MIB")
    path("--engine-turns", type=int, default=300, metavar="TURNS")
    path("--idle-stop", type=float, default=600.0, metavar="SECONDS")
    path("--notes-after", type=float, default=240.0, metavar="SECONDS")
    path("--stall-after", type=float, default=330.0, metavar="SECONDS")
    path("--ask-within", type=float, default=900.0, metavar="SECONDS")
    return Settings(**vars(options.parse_args(argv)))
