"""What a runtime does. It knows containers, not agents' wishes: no git, no broker, no plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from hive_wire.terms import NetworkMode, Role


class Phase(StrEnum):
    """What the kernel and the supervisor say of one container."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"  # nothing runs; its directory may exist
    BROKEN = "broken"  # half of it lives: supervisor gone, processes left; stop() cures it


@dataclass(frozen=True)
class Bind:
    source: Path
    target: Path
    read_only: bool = True
    idmap: bool = False  # owner root inside is the owner outside


@dataclass(frozen=True)
class Container:
    """All that is needed to start one container."""

    name: str  # "h-scout": unique within the root
    uid: str
    agent: str
    role: Role
    revision: str
    restart_key: str  # digest of what needs a restart when it changes
    memory: int  # bytes
    cpus: float
    tasks: int
    limits_required: bool
    network: NetworkMode
    binds: tuple[Bind, ...]
    environment: tuple[tuple[str, str], ...]
    argv: tuple[str, ...]  # PID 1 of the container
    commit: str | None = None  # of applied that it comes from: what a runtime with Nix builds


@dataclass(frozen=True, slots=True)
class Observed:
    """One container as it is now. The revision comes from the running container itself."""

    name: str
    uid: str
    phase: Phase
    revision: str | None
    restart_key: str | None
    started: float | None  # unix seconds
    exit_status: int | None  # of the last run, if it ended by itself
    memory: int | None  # bytes in use
    tasks: int | None
    unenforced: tuple[str, ...] = ()  # limits that no controller holds
    oom_killed: bool = False
    age: float | None = None  # seconds since the start, by a clock that nobody sets

    @property
    def lives(self) -> bool:
        return self.phase is not Phase.STOPPED

    def stands_as(self, other: Observed) -> bool:
        """Whether it is the same but for what it uses at the moment."""
        return self is other or (
            self.phase is other.phase
            and self.name == other.name
            and self.uid == other.uid
            and self.revision == other.revision
            and self.restart_key == other.restart_key
            and self.started == other.started
            and self.exit_status == other.exit_status
            and self.unenforced == other.unenforced
            and self.oom_killed == other.oom_killed
        )


class RuntimeFailure(Exception):
    """An action failed. The message is for a person; nothing is half-done unless it says so.

    `reason` becomes the condition's reason; `permanent` means: no retry until the input changes.
    """

    def __init__(self, reason: str, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.permanent = permanent


@dataclass(frozen=True)
class Finding:
    """One line of `hive doctor`."""

    ok: bool
    what: str
    detail: str
    cure: str = ""


class Runtime(Protocol):
    """Each method checks, acts and verifies; each may be called again after a crash."""

    name: str
    networks: frozenset[NetworkMode]  # those it can give a container

    async def observe(self) -> tuple[Observed, ...]:
        """Every container of this root, in one pass. Raises RuntimeFailure, never lies by omission."""

    async def prepare(self, container: Container) -> None:
        """Do what a start takes long for and what changes nothing yet; may be cancelled."""

    async def start(self, container: Container) -> None:
        """Start it and return when its PID 1 runs. Already running with this revision: nothing."""

    async def update(self, container: Container) -> None:
        """Take over limits and revision in place."""

    async def stop(self, name: str, grace: float) -> None:
        """TERM, after `grace` seconds KILL, until no process is left and the name is free."""

    async def destroy(self, name: str) -> None:
        """Remove what start() made. State, credentials and sockets are not the runtime's."""

    def adopt(self, on_change: Callable[[str], None]) -> None:
        """Watch all containers, also those a former process started; call back with the name."""

    async def close(self) -> None:
        """Stop watching. Containers go on."""

    async def logs(self, name: str, limit: int) -> tuple[str, ...]:
        """The last lines that the container printed."""

    async def doctor(self) -> tuple[Finding, ...]:
        """What this machine can and cannot do for this runtime."""
