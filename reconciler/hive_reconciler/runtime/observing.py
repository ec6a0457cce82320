"""Every container of a root as it is now, from records, processes and groups alone."""

from __future__ import annotations

import time

from .base import Observed, Phase, RuntimeFailure
from .cgroups import Group, Groups
from .processes import variable
from .records import MARKER, Cabinet, Entry, Living, Record


def observe(cabinet: Cabinet, groups: Groups) -> tuple[Observed, ...]:
    """All of them, by name; also those whose record is lost. Raises RuntimeFailure."""
    try:
        names = cabinet.names() | groups.names()
        return tuple(_one(cabinet.entry(name), groups.group(name)) for name in sorted(names))
    except OSError as error:
        raise RuntimeFailure("ObserveFailed", f"cannot see the containers: {error}") from error


def _one(entry: Entry, group: Group) -> Observed:
    # The lock first: a start in between must not look like a stop.
    locked = entry.locked()
    record = entry.record()
    living = entry.living()
    phase = _phase(entry, group, living, locked=locked)
    running = phase in (Phase.STARTING, Phase.RUNNING, Phase.STOPPING)
    end = None if running or record is None else entry.exit()
    ours = record if running and record is not None and _agrees(record, living) else None
    by_itself = end is not None and not entry.stopping
    return Observed(
        name=entry.name,
        uid=record.uid if record is not None else "",
        phase=phase,
        revision=ours.revision if ours is not None else None,
        restart_key=ours.restart_key if ours is not None else None,
        started=record.started if record is not None else None,
        exit_status=end.status if end is not None and by_itself else None,
        memory=group.memory() if running else None,
        tasks=group.tasks() if running else None,
        unenforced=record.unenforced if record is not None else (),
        oom_killed=end is not None and by_itself and end.oom,
        age=_age(record) if running and record is not None else None,
    )


def _age(record: Record) -> float | None:
    if not record.started_since_boot:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - record.started_since_boot


def _phase(entry: Entry, group: Group, living: Living, *, locked: bool) -> Phase:
    if locked and entry.stopping:
        return Phase.STOPPING
    if living.shim is not None and living.supervisor is not None:
        return Phase.RUNNING if living.began else Phase.STARTING
    if living.supervisor is not None or living.leader is not None:
        return Phase.BROKEN
    if group.pids():
        return Phase.BROKEN if living.shim is None and not locked else Phase.STARTING
    if locked:
        return Phase.STARTING
    # A shim that let go of the lock is leaving; until it has left, the name is not free.
    return Phase.STOPPED if living.shim is None else Phase.STOPPING


def _agrees(record: Record, living: Living) -> bool:
    """Whether shim and PID 1 carry the record's token; an unreadable one proves nothing."""
    for process in (living.shim, living.leader):
        if process is None:
            continue
        token = variable(process, MARKER)
        if token is not None and token != record.token:
            return False
    return True
