"""What Nix says of a proposal: systems before and after, and how they differ. No consent is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["running", "ok", "failed", "not-built"]  # one that failed is shown as rejected
MAX_LISTED = 100  # packages or units of one system


@dataclass(frozen=True)
class System:
    """One container's system as evaluated."""

    drv: str  # store path of its derivation
    packages: Mapping[str, str]  # name → versions
    units: Mapping[str, str]  # name → digest of its text
    to_build: int = 0  # derivations that no store has
    to_fetch: int = 0  # paths that a binary cache has


@dataclass(frozen=True)
class Difference:
    """A package or a unit; None where it is not there."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class SystemReport:
    container: str
    changed: bool  # whether it is another system at all
    packages: tuple[Difference, ...] = ()
    units: tuple[Difference, ...] = ()
    to_build: int = 0
    to_fetch: int = 0


@dataclass(frozen=True)
class BuildReport:
    """`reason` says why it failed or was not built; `left_out` how many systems nobody looked at."""

    state: State
    reason: str = ""
    systems: tuple[SystemReport, ...] = ()
    left_out: int = 0


def compare(container: str, before: System | None, after: System) -> SystemReport:
    """What is added, removed, or another: packages by version, units by their text."""
    return SystemReport(
        container,
        before is None or before.drv != after.drv,
        _differences(before.packages if before else {}, after.packages),
        _differences(before.units if before else {}, after.units),
        after.to_build,
        after.to_fetch,
    )


def build_json(report: BuildReport | None) -> dict[str, Any] | None:
    """`build` of a proposal as docs/protocol.md has it."""
    if report is None:
        return None
    return {
        "state": report.state,
        "reason": report.reason,
        "left_out": report.left_out,
        "systems": [
            {
                "container": system.container,
                "changed": system.changed,
                "packages": [vars(d) for d in system.packages[:MAX_LISTED]],
                "units": [{"name": d.name, "change": _word(d)} for d in system.units[:MAX_LISTED]],
                "to_build": system.to_build,
                "to_fetch": system.to_fetch,
            }
            for system in report.systems
        ],
    }


def build_text(build: Mapping[str, Any]) -> str:
    """The same for people, from its JSON."""
    if build["state"] == "running":
        return "Nix: its systems are being evaluated"
    if build["state"] == "not-built":
        return f"Nix: not built here: {build['reason']}"
    lines = ["Nix: evaluated, nothing built yet"]
    for system in build["systems"]:
        lines += _system_lines(system)
    if build["left_out"]:
        lines.append(f"  {build['left_out']} more systems were not evaluated")
    return "\n".join(lines)


def _system_lines(system: Mapping[str, Any]) -> list[str]:
    if not system["changed"]:
        return [f"  {system['container']}: the same system"]
    lines = [
        f"  {system['container']}: {system['to_build']} to build, {system['to_fetch']} to fetch"
    ]
    for package in system["packages"]:
        before, after = package["before"], package["after"]
        if before is None:
            lines.append(f"    + {package['name']} {after}".rstrip())
        elif after is None:
            lines.append(f"    - {package['name']} {before}".rstrip())
        else:
            lines.append(f"    ~ {package['name']} {before} → {after}")
    marks = {"added": "+", "removed": "-", "changed": "~"}
    lines += [f"    {marks[unit['change']]} unit {unit['name']}" for unit in system["units"]]
    return lines


def _differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Difference, ...]:
    return tuple(
        Difference(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def _word(difference: Difference) -> str:
    if difference.before is None:
        return "added"
    return "removed" if difference.after is None else "changed"
