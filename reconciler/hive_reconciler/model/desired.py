"""The desired state of one commit, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hive_wire.hivetoml import HiveToml
from hive_wire.parse import SpecProblem
from hive_wire.spec import AgentSpec


@dataclass(frozen=True)
class Valid:
    spec: AgentSpec
    prompt: str
    revision: str
    tree: str
    nix_applied: bool = True  # False: agent.nix exists and this runtime does not build it


@dataclass(frozen=True)
class Invalid:
    """The files are there and wrong. Counts as present; the last good spec keeps running."""

    problems: tuple[SpecProblem, ...]
    tree: str


@dataclass(frozen=True)
class Unreadable:
    """The read failed. Counts as present; nothing is concluded."""

    error: str


Entry = Valid | Invalid | Unreadable


@dataclass(frozen=True)
class Desired:
    """One commit of `applied`. `agents` has every directory under agents/, good or bad."""

    commit: str
    hive: HiveToml
    agents: Mapping[str, Entry] = field(default_factory=dict)
    allow_prune: int = 0  # of the merge that made this tip
