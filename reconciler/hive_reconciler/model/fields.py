"""Typed changes of settings: every capability gained or lost, ranked by risk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hive_wire.hivetoml import HiveToml
from hive_wire.names import EVERYONE
from hive_wire.spec import AgentSpec, parse_size

from .agentfiles import inside, use
from .desired import Entry, Valid
from .tree import FileChange, agent_of

NETWORK_REACH = {"none": 0, "private": 1, "host": 2}
HARMLESS_TOOLS = frozenset(AgentSpec().tools.builtin) | {"NotebookEdit", "TodoWrite"}
_PART_FIELDS = ("tools", "session", "limits", "budget", "network")
# Keys that came after the first effects were recorded: at their defaults an effect is as
# it was without them.
_LATER: dict[str, Any] = {
    "tools.ask": [],
    "tools.allow": [],
    "session.compact_at": 0.7,
    "session.when_cold": "resume",
}


class Risk(StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        return ("high", "medium", "low").index(self.value)


@dataclass(frozen=True)
class FieldChange:
    """One setting, or a file whose content is one: then `field` is its path. `agent` is "" for
    the swarm; None means that the setting did not exist."""

    agent: str
    field: str
    before: Any
    after: Any
    risk: Risk
    text: str


def flat(spec: AgentSpec) -> dict[str, Any]:
    """The settings of one agent under dotted names, as JSON values."""
    values: dict[str, Any] = {}
    for key, value in spec.model_dump(mode="json").items():
        if key in _PART_FIELDS:
            values.update({f"{key}.{inner}": v for inner, v in value.items()})
        else:
            values[key] = value
    return values


def agent_changes(
    name: str,
    before: Entry | None,
    after: Entry | None,
    files: Sequence[FileChange],
    other_name: str | None,
    *,
    version: int,
) -> list[FieldChange]:
    """What changes for one agent. A side that is not valid has no settings. `other_name` is the
    one that the agent had, or gets; `version` that of the effect."""
    found: list[FieldChange] = []
    if before is None and after is not None:
        text = f"adds the agent {name}"
        if other_name:
            text += f": {other_name} under a new name, with its uid, state, session and mail"
        found.append(FieldChange(name, "agent", None, "added", Risk.MEDIUM, text))
    if after is None and before is not None:
        text = f"removes the agent {name}; its state is kept until it is purged"
        if other_name:
            text = (
                f"removes the agent {name}, which is renamed: its state goes on with {other_name}"
            )
        return [FieldChange(name, "agent", "present", None, Risk.HIGH, text)]
    old = _LATER | (flat(before.spec) if isinstance(before, Valid) else {})
    new = _LATER | (flat(after.spec) if isinstance(after, Valid) else {})
    found += [
        _field(name, field, old.get(field), new.get(field))
        for field in sorted(old.keys() | new.keys())
        if old.get(field) != new.get(field) and field != "uid"
    ]
    if old.get("uid") != new.get("uid") and isinstance(before, Valid):
        found.append(_field(name, "uid", old.get("uid"), new.get("uid")))
    own = (file for file in files if agent_of(file.path) == name)
    of_files = (_file_change(name, before, after, file, version) for file in own)
    return found + [change for change in of_files if change is not None]


def _file_change(
    name: str, before: Entry | None, after: Entry | None, file: FileChange, version: int
) -> FieldChange | None:
    """A file whose content is a capability or a task of its own."""
    path = inside(file)
    field = path if version == 1 else file.path  # a file may have the name of a setting
    old, new = (side and side.oid for side in (file.old, file.new))
    match use(file, before, after, version):
        case "role text":
            text = f"{name}: the role text in {path} {_verb(file)}"
            return FieldChange(name, field, old, new, Risk.MEDIUM, text)
        case "nix":
            reads = "" if path.endswith(".nix") else "which Nix can read for "
            text = f"{name}: {path}, {reads}packages and services, {_verb(file)}"
            return FieldChange(name, field, old, new, Risk.HIGH, text)
    return None


def shared_changes(files: Sequence[FileChange]) -> list[FieldChange]:
    """Shared files other than hive.toml: they shape every container on NixOS."""
    return [
        FieldChange(
            "",
            file.path,
            file.old and file.old.oid,
            file.new and file.new.oid,
            Risk.HIGH,
            f"{file.path}, shared by all agents, {_verb(file)}",
        )
        for file in files
        if agent_of(file.path) is None and file.path != "hive.toml"
    ]


def hive_changes(before: HiveToml, after: HiveToml) -> list[FieldChange]:
    """What changes in hive.toml itself; what new defaults do to agents shows at the agents."""
    found = []
    old, new = (side.model_dump(mode="json", by_alias=True) for side in (before, after))
    for table, risk in (
        ("policy", Risk.HIGH),
        ("limits", Risk.HIGH),
        ("defaults", Risk.HIGH),
        ("templates", Risk.MEDIUM),
    ):
        a, b = old[table], new[table]
        for key in sorted(a.keys() | b.keys()):
            if a.get(key) != b.get(key):
                field = f"{table}.{key}"
                text = f"hive.toml: {field} {_show(a.get(key))} → {_show(b.get(key))}"
                found.append(FieldChange("", field, a.get(key), b.get(key), risk, text))
    return found


def _field(name: str, field: str, before: Any, after: Any) -> FieldChange:
    text = f"{name}: {field} {_show(before)} → {_show(after)}"
    if isinstance(after, list) and isinstance(before, list | None):
        old = before or []
        gained = [item for item in after if item not in old]
        lost = [item for item in old if item not in after]
        if gained or lost:
            parts = [f"gains {', '.join(gained)}"] if gained else []
            parts += [f"loses {', '.join(lost)}"] if lost else []
            text = f"{name}: {field} {'; '.join(parts)}"
    return FieldChange(name, field, before, after, _risk(field, before, after), text)


def _risk(field: str, before: Any, after: Any) -> Risk:
    match field:
        case "role" | "uid":
            return Risk.LOW if (before, after) == (None, "agent") else Risk.HIGH
        case "network.mode":
            wider = NETWORK_REACH.get(after, 9) > NETWORK_REACH.get(before, 0)
            return Risk.HIGH if wider else Risk.LOW
        case "tools.builtin":
            gained = set(after or ()) - set(before or ())
            if gained - HARMLESS_TOOLS:
                return Risk.HIGH
            return Risk.MEDIUM if gained and before is not None else Risk.LOW
        case "tools.allow":
            return Risk.MEDIUM if set(after or ()) - set(before or ()) else Risk.LOW
        case "tools.ask":
            return Risk.HIGH if set(before or ()) - set(after or ()) else Risk.LOW
        case "may_send_to":
            gained = set(after or ()) - set(before or ())
            return Risk.MEDIUM if gained and EVERYONE not in (before or ()) else Risk.LOW
        case "engine" | "model" | "prompt":
            return Risk.MEDIUM
        case "limits.memory":
            grows = _bytes(after) > _bytes(before)
            return Risk.MEDIUM if grows else Risk.LOW
        case "limits.cpus" | "limits.tasks" | "budget.usd_per_day" | "budget.turns_per_hour":
            return Risk.MEDIUM if (after or 0) > (before or 0) else Risk.LOW
        case _:
            return Risk.LOW


def _bytes(size: Any) -> int:
    return parse_size(size) if isinstance(size, str) else 0


def _verb(file: FileChange) -> str:
    if file.old is None:
        return "is added"
    return "is removed" if file.new is None else "changes"


def _show(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)
    return repr(text) if text != text.strip() or not text else text
