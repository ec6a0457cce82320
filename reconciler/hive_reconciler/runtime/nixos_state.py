"""What systemd and machined say of containers, as values. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .base import Observed, Phase
from .nixos_conf import Conf

PROPERTIES = (
    "Id",
    "ActiveState",
    "SubState",
    "Result",
    "MainPID",
    "ExecMainCode",
    "ExecMainStatus",
    "ActiveEnterTimestamp",
    "NRestarts",
    "MemoryCurrent",
    "TasksCurrent",
)
_UNSET = {"", "[not set]", "18446744073709551615"}
_PREFIX, _SUFFIX = "container@", ".service"
_CODE_EXITED = "1"
_SIGNALLED = {"2", "3"}  # killed, dumped


def unit_of(machine: str) -> str:
    return f"{_PREFIX}{machine}{_SUFFIX}"


@dataclass(frozen=True)
class Unit:
    """One `container@` unit. `pid` is nspawn's."""

    machine: str
    active: str
    sub: str
    result: str
    pid: int | None
    ended: int | None  # exit status of the last run, 128 + n for signal n
    restarts: int  # by systemd itself, since it was last started by somebody
    entered: float | None
    memory: int | None
    tasks: int | None


NEVER_SEEN = Unit("", "inactive", "dead", "success", None, None, 0, None, None, None)


def parse_units(text: str) -> dict[str, Unit]:
    """By machine, from `systemctl show --timestamp=unix`: blocks of KEY=value lines."""
    units = {}
    for block in text.strip().split("\n\n"):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        name = fields.get("Id", "")
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
            machine = name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
            units[machine] = _unit(machine, fields)
    return units


def _unit(machine: str, fields: Mapping[str, str]) -> Unit:
    return Unit(
        machine=machine,
        active=fields.get("ActiveState", ""),
        sub=fields.get("SubState", ""),
        result=fields.get("Result", ""),
        pid=_number(fields.get("MainPID", "")) or None,
        ended=_ended(fields.get("ExecMainCode", ""), fields.get("ExecMainStatus", "")),
        restarts=_number(fields.get("NRestarts", "")) or 0,
        entered=_time(fields.get("ActiveEnterTimestamp", "")),
        memory=_number(fields.get("MemoryCurrent", "")),
        tasks=_number(fields.get("TasksCurrent", "")),
    )


def _number(text: str) -> int | None:
    return None if text in _UNSET else int(text)


def _time(text: str) -> float | None:
    return float(text[1:]) if text.startswith("@") else None


def _ended(code: str, status: str) -> int | None:
    number = _number(status)
    if number is None:
        return None
    if code == _CODE_EXITED:
        return number
    return 128 + number if code in _SIGNALLED else None


def parse_machines(text: str) -> frozenset[str]:
    """Names from `machinectl list -o json`."""
    return frozenset(entry["machine"] for entry in json.loads(text or "[]"))


def observe(
    confs: Iterable[Conf],
    units: Mapping[str, Unit],
    machines: frozenset[str],
    stopped: frozenset[str],
    *,
    tag: str,
    unenforced: tuple[str, ...],
) -> tuple[Observed, ...]:
    """All containers of one root. `stopped` names those that we ended ourselves."""
    found = []
    for conf in sorted(confs, key=lambda conf: conf.name):
        machine = conf.name + tag
        unit = units.get(machine, NEVER_SEEN)
        phase = _phase(unit, registered=machine in machines)
        lives = phase in (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)
        by_itself = phase is Phase.STOPPED and conf.name not in stopped
        found.append(
            Observed(
                name=conf.name,
                uid=conf.uid,
                phase=phase,
                # A switch that was cut off is made again in place: it changes the system alone.
                revision=conf.revision if lives and conf.settled else None,
                restart_key=conf.restart_key if lives else None,
                started=unit.entered if lives else None,
                exit_status=unit.ended if by_itself else None,
                memory=unit.memory if lives else None,
                tasks=unit.tasks if lives else None,
                unenforced=unenforced if lives else (),
                oom_killed=by_itself and unit.result == "oom-kill",
            )
        )
    return tuple(found)


def _phase(unit: Unit, *, registered: bool) -> Phase:
    if unit.active in ("active", "reloading", "refreshing"):
        return Phase.RUNNING
    if unit.active == "activating":
        # systemd starts it again by itself: the run is over. That fails for ever while machined
        # still knows the machine of a killed nspawn, so nobody waits for it; start() ends it.
        again = unit.restarts > 0 or unit.sub.startswith("auto-restart")
        return Phase.STOPPED if again else Phase.STARTING
    if unit.active == "deactivating":
        return Phase.STOPPING
    # The unit is over: a machine that is still registered has processes outside of it.
    return Phase.BROKEN if registered else Phase.STOPPED
