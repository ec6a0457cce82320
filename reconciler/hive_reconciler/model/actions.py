"""What a merge makes the loop do, if everything runs as the base says. Part of the effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hive_wire.spec import AgentSpec, Takes, takes

from .agentfiles import inside, use
from .desired import Entry, Valid
from .tree import FileChange, agent_of


@dataclass(frozen=True)
class Action:
    """`kind`: create, start, stop, restart, update, rebuild, destroy."""

    kind: str
    agent: str
    reason: str


def planned(
    name: str,
    before: Entry | None,
    after: Entry | None,
    files: Sequence[FileChange],
    other_name: str | None,
    *,
    version: int,
) -> list[Action]:
    """The actions for one agent, as if observed = desired(base). `other_name` is the one that it
    had, or gets; `version` that of the effect."""
    if after is None:
        gone = f"it is {other_name} now" if other_name else "the agent is removed"
        return [] if before is None else [Action("destroy", name, gone)]
    if not isinstance(after, Valid):
        return []
    if not isinstance(before, Valid):
        new = f"it was {other_name}" if other_name else "new agent"
        if before is not None and version > 1:
            new = "its files can be used again"
        started = after.spec.state == "running"
        return [Action("create", name, new if started else f"{new}, not started")]
    if before.spec.state != after.spec.state:
        if after.spec.state == "running":
            return [Action("start", name, "state: stopped → running")]
        return [Action("stop", name, "state: running → stopped")]
    if after.spec.state == "stopped":
        return []
    nix = [
        inside(file).rsplit("/", 1)[-1]
        for file in files
        if agent_of(file.path) == name and use(file, before, after, version) == "nix"
    ]
    return [*_changed(name, before.spec, after.spec, files), *_rebuilt(name, nix)]


def _changed(
    name: str, before: AgentSpec, after: AgentSpec, files: Sequence[FileChange]
) -> list[Action]:
    fields = [f for f in AgentSpec.model_fields if getattr(before, f) != getattr(after, f)]
    restarts = [field for field in fields if takes(field) is Takes.RESTART]
    if restarts:
        return [Action("restart", name, f"{', '.join(restarts)} changed")]
    prompt = f"agents/{name}/{after.prompt}"
    at_once = [field for field in fields if takes(field) is Takes.IN_PLACE]
    later = [field for field in fields if takes(field) is Takes.NEXT_TURN]
    if "prompt" not in later and any(file.path == prompt for file in files):
        later.append("prompt")
    parts = [f"{', '.join(at_once)} changed, at once"] if at_once else []
    parts += [f"{', '.join(later)} changed, from the next turn on"] if later else []
    return [Action("update", name, "; ".join(parts))] if parts else []


def _rebuilt(name: str, nix: Sequence[str]) -> list[Action]:
    """The same on every host: where nothing is built, the plan beside it shows no rebuild."""
    if not nix:
        return []
    return [Action("rebuild", name, f"{', '.join(nix)} changed; on hosts that run NixOS")]
