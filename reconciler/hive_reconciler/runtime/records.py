"""What is written beside a running container, so that any later process can tell what it is.

`<runtime directory>/containers/<name>/`: `record` and `stopping` by the runtime, `processes` and
`exit` by the shim, `lock` held by the shim for as long as it lives.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hive_wire.paths import Layout

from .base import Container
from .processes import Process, alive, boot_id

MARKER = "HIVE_CONTAINER"  # in the environment of PID 1 and of the shim: the record's token
_FLOCK = struct.Struct("hhqqi4x")  # struct flock on 64-bit Linux
NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=_Model)


class Record(_Model):
    """What was started, and what it was updated to since."""

    name: str
    uid: str
    agent: str
    machine: str
    revision: str
    restart_key: str
    token: str
    started: float  # unix seconds
    started_since_boot: float = 0.0  # seconds; 0 where it was not noted
    memory: int
    cpus: float
    tasks: int
    unenforced: tuple[str, ...]

    @classmethod
    def of(
        cls, container: Container, machine: str, started: float, unenforced: tuple[str, ...]
    ) -> Record:
        return cls(
            name=container.name,
            uid=container.uid,
            agent=container.agent,
            machine=machine,
            revision=container.revision,
            restart_key=container.restart_key,
            token=secrets.token_hex(16),
            started=started,
            started_since_boot=time.clock_gettime(time.CLOCK_BOOTTIME),
            memory=container.memory,
            cpus=container.cpus,
            tasks=container.tasks,
            unenforced=unenforced,
        )


class _Processes(_Model):
    boot: str
    shim: tuple[int, int]
    supervisor: tuple[int, int] | None = None
    leader: tuple[int, int] | None = None


class Exit(_Model):
    """How a run ended: the status as a shell gives it, 128 + n for signal n."""

    status: int
    oom: bool
    at: float


@dataclass(frozen=True)
class Living:
    """The processes of one run that are alive now."""

    shim: Process | None = None  # holds the console, the lock and the exit status
    supervisor: Process | None = None  # nspawn or bwrap
    leader: Process | None = None  # PID 1 of the container
    began: bool = False  # whether there ever was a PID 1

    @property
    def all(self) -> tuple[Process, ...]:
        return tuple(p for p in (self.shim, self.supervisor, self.leader) if p is not None)


class Entry:
    """The directory of one container."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    def exists(self) -> bool:
        return self.path.is_dir()

    def make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def forget_run(self) -> None:
        """Remove what the last run left, except the lock and what its runtime takes down later."""
        for name in ("record", "processes", "exit", "stopping", "notify", "gate", "resolv.conf"):
            (self.path / name).unlink(missing_ok=True)

    def remove(self) -> None:
        if not self.exists():
            return
        for entry in os.scandir(self.path):
            os.unlink(entry.path)
        self.path.rmdir()

    def write(self, record: Record) -> None:
        """Half a record is never seen. Not durable: no container outlives the machine's boot."""
        fresh = self.path / "record.new"
        fresh.write_text(record.model_dump_json())
        fresh.rename(self.path / "record")

    def record(self) -> Record | None:
        return _read(self.path / "record", Record)

    def exit(self) -> Exit | None:
        return _read(self.path / "exit", Exit)

    def living(self) -> Living:
        """Those of the last run that live; none when it ran before the machine's last boot."""
        found = _read(self.path / "processes", _Processes)
        if found is None or found.boot != boot_id():
            return Living()
        return Living(
            shim=_if_alive(found.shim),
            supervisor=_if_alive(found.supervisor),
            leader=_if_alive(found.leader),
            began=found.leader is not None,
        )

    @property
    def stopping(self) -> bool:
        return (self.path / "stopping").exists()

    def mark_stopping(self) -> None:
        (self.path / "stopping").touch()

    def lock(self) -> int | None:
        """Take the container's lock: an open descriptor, or None while another run lives."""
        fd = self._open_lock()
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def locked(self) -> bool:
        """Whether a run, even one that has just begun, holds the name. Takes nothing itself."""
        if not (self.path / "lock").exists():
            return False
        fd = self._open_lock()
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0]
        finally:
            os.close(fd)
        return bool(kind != fcntl.F_UNLCK)

    def _open_lock(self) -> int:
        # Locks of the open file: they pass to the shim with the descriptor and end with it.
        return os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class Cabinet:
    """All entries of one root."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.run / "containers"

    def entry(self, name: str) -> Entry:
        return Entry(self._path / name)

    def names(self) -> frozenset[str]:
        """Names with an entry. Raises OSError other than "not there"."""
        try:
            found = os.listdir(self._path)
        except FileNotFoundError:
            return frozenset()
        return frozenset(name for name in found if NAME.fullmatch(name))


def _if_alive(pair: tuple[int, int] | None) -> Process | None:
    process = None if pair is None else Process(*pair)
    return process if alive(process) else None


def _read(path: Path, model: type[M]) -> M | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
