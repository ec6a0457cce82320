"""What both runtimes do alike: records, shims, groups, watching, the stop ladder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL, SIGTERM

from hive_wire.paths import Layout
from hive_wire.terms import NetworkMode

from . import logs, skeleton
from .base import Container, Finding, Observed, RuntimeFailure
from .cgroups import Group, Groups, LimitRefused
from .checks import check
from .launch import Launch, Shims
from .observing import observe
from .processes import Process, ended, send
from .records import NAME, Cabinet, Entry, Record
from .watch import Watch

KILL_SECONDS = 10.0


class SupervisedRuntime(ABC):
    """A runtime whose containers each have a shim, a supervisor and, if possible, a group."""

    name: str
    networks: frozenset[NetworkMode]

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._cabinet = Cabinet(layout)
        self._groups = Groups(layout.tag)
        self._shims = Shims()
        self._starting: set[str] = set()
        self._watch: Watch | None = None
        self._adopting: asyncio.Task[None] | None = None
        self._sweeps: set[asyncio.Task[None]] = set()

    # -- what differs ----------------------------------------------------------

    @abstractmethod
    def _refuse(self, container: Container) -> None:
        """Raise RuntimeFailure for what this runtime cannot do at all."""

    @abstractmethod
    def _held_otherwise(self) -> frozenset[str]:
        """Limits held without a control group."""

    @abstractmethod
    def _command(self, container: Container, root: Path, record: Record) -> Launch:
        """The supervisor's command, and how the shim runs it."""

    async def _started(self, container: Container, leader: Process) -> None:  # noqa: B027 - a hook
        """Add what needs the container's namespaces, before start() returns."""

    async def _ended(self, name: str) -> None:  # noqa: B027 - a hook
        """Remove what outlived the container."""

    @abstractmethod
    async def doctor(self) -> tuple[Finding, ...]:
        """What this machine can and cannot do for this runtime."""

    # -- observe ---------------------------------------------------------------

    async def observe(self) -> tuple[Observed, ...]:
        return await asyncio.to_thread(observe, self._cabinet, self._groups)

    def adopt(self, on_change: Callable[[str], None]) -> None:
        self._watch = Watch(on_change)
        self._adopting = asyncio.create_task(self._adopt_all(self._watch))

    async def _adopt_all(self, watch: Watch) -> None:
        found = await asyncio.to_thread(
            lambda: [(n, self._cabinet.entry(n).living()) for n in self._cabinet.names()]
        )
        for name, living in found:
            watch.add(name, living.all)
        await asyncio.to_thread(self._shims.keep_ready)

    async def close(self) -> None:
        await asyncio.gather(*self._sweeps, return_exceptions=True)
        if self._adopting is not None:
            await asyncio.gather(self._adopting, return_exceptions=True)
        await asyncio.to_thread(self._shims.close)
        if self._watch is not None:
            self._watch.close()
        self._adopting = self._watch = None

    async def logs(self, name: str, limit: int) -> tuple[str, ...]:
        return await asyncio.to_thread(logs.tail, self._log(name), limit)

    def _log(self, name: str) -> Path:
        return self._layout.logs / f"{_checked(name)}.log"

    # -- start and update ------------------------------------------------------

    async def prepare(self, container: Container) -> None:  # noqa: B027 - nothing takes long
        """There is nothing that takes long."""

    async def start(self, container: Container) -> None:
        check(container)
        self._refuse(container)
        self._starting.add(container.name)
        try:
            await self._start(container)
        finally:
            self._starting.discard(container.name)

    async def _start(self, container: Container) -> None:
        entry = self._cabinet.entry(container.name)
        lock = await asyncio.to_thread(self._claim, entry, container)
        if lock is None:
            return
        try:
            task = await asyncio.to_thread(self._prepare, entry, container)
            await self._shims.launch(task, lock)
            living = await asyncio.to_thread(entry.living)
            if living.leader is not None:
                await self._started(container, living.leader)
        except (RuntimeFailure, OSError) as error:
            os.close(lock)
            lock = -1
            await asyncio.to_thread(entry.mark_stopping)
            with contextlib.suppress(RuntimeFailure):
                await self._end(entry, grace=0)
            raise _explained(container.name, error) from error
        finally:
            if lock >= 0:
                os.close(lock)
        if self._watch is not None:
            self._watch.add(container.name, living.all)
        sweep = asyncio.create_task(
            asyncio.to_thread(self._after_start, self._layout.agent(container.uid))
        )
        self._sweeps.add(sweep)  # an agent that wrote much must not hold up its start
        sweep.add_done_callback(self._sweeps.discard)

    def _after_start(self, home: Path) -> None:
        if self._watch is not None:
            self._shims.keep_ready()
        skeleton.sweep(home)

    def _claim(self, entry: Entry, container: Container) -> int | None:
        """The lock of the name; None when the same revision runs already."""
        entry.make()
        lock = entry.lock()
        if lock is None:
            record = entry.record()
            same = record is not None and record.revision == container.revision
            if same and entry.living().supervisor is not None:
                return None
            raise RuntimeFailure("AlreadyRunning", f"{entry.name} runs already: stop it first")
        try:
            if entry.living().all or self._groups.group(entry.name).pids():
                raise RuntimeFailure(
                    "LeftProcesses",
                    f"processes of {entry.name} live without supervisor: stop it first",
                )
        except BaseException:
            os.close(lock)  # else nobody could take the name while this process lives
            raise
        return lock

    def _prepare(self, entry: Entry, container: Container) -> Launch:
        entry.forget_run()
        group = self._groups.group(entry.name)
        unenforced = self._limit(group, container, fresh=True)
        root = skeleton.make(
            self._layout.agent(container.uid),
            container.role,
            (*skeleton.host_binds(), *container.binds),
            self._files(container),
        )
        record = Record.of(container, self._layout.machine(entry.name), time.time(), unenforced)
        entry.write(record)
        self._layout.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._command(container, root, record)

    def _files(self, container: Container) -> dict[str, str]:
        """Files of this container's root, by path."""
        return {"etc/hostname": f"{container.name}\n"}

    def _limit(self, group: Group, container: Container, *, fresh: bool) -> tuple[str, ...]:
        try:
            if fresh:
                group.remove()
                group.make()
            group.limit(container.memory, container.cpus, container.tasks)
        except LimitRefused as error:
            raise RuntimeFailure("LimitRefused", str(error)) from error
        unenforced = tuple(x for x in group.unenforced() if x not in self._held_otherwise())
        if unenforced and container.limits_required:
            raise RuntimeFailure(
                "LimitsNotEnforced",
                f"nothing on this machine holds {', '.join(unenforced)}, and "
                "hive.toml says [limits] required = true; `hive doctor` tells more",
                permanent=True,
            )
        return unenforced

    async def update(self, container: Container) -> None:
        check(container)
        await asyncio.to_thread(self._update, container)

    def _update(self, container: Container) -> None:
        entry = self._cabinet.entry(container.name)
        record = entry.record()
        if record is None or entry.living().leader is None:
            raise RuntimeFailure("NotRunning", f"{entry.name} does not run: start it")
        if (record.uid, record.restart_key) != (container.uid, container.restart_key):
            raise RuntimeFailure("NeedsRestart", f"{entry.name} takes this over by a restart only")
        group = self._groups.group(entry.name)
        unenforced = self._limit(group, container, fresh=False)
        entry.write(
            record.model_copy(
                update={
                    "revision": container.revision,
                    "memory": container.memory,
                    "cpus": container.cpus,
                    "tasks": container.tasks,
                    "unenforced": unenforced,
                }
            )
        )

    # -- stop ------------------------------------------------------------------

    async def stop(self, name: str, grace: float) -> None:
        entry = self._cabinet.entry(_checked(name))
        if await asyncio.to_thread(self._begin_stop, entry):
            await self._end(entry, grace)

    def _begin_stop(self, entry: Entry) -> bool:
        group = self._groups.group(entry.name)
        if not entry.exists() and not group.exists():
            return False
        entry.make()
        if entry.living().all or group.pids():
            entry.mark_stopping()  # so that its end does not look like its own doing
        return True

    async def _end(self, entry: Entry, grace: float) -> None:
        """The ladder: TERM, KILL PID 1's side, KILL all, verify."""
        group = self._groups.group(entry.name)
        living = await asyncio.to_thread(entry.living)
        if living.leader is not None and grace > 0:
            send(living.leader, SIGTERM)
            await ended(living.leader, grace)
        await asyncio.to_thread(self._kill_inside, entry, group)
        # The supervisor cleans up and the shim writes the end down, if they are let.
        for process in (living.leader, living.supervisor, living.shim):
            if process is not None and not await ended(process, KILL_SECONDS / 3):
                send(process, SIGKILL)
                await ended(process, KILL_SECONDS / 3)
        await asyncio.to_thread(group.kill)
        if not await asyncio.to_thread(self._verify, entry, group):
            raise RuntimeFailure(
                "StopFailed", f"{entry.name}: processes survive KILL (stuck in the kernel?)"
            )
        await self._ended(entry.name)
        if not self._starting - {entry.name}:  # a start beside us needs the folder
            await asyncio.to_thread(self._groups.tidy)

    def _kill_inside(self, entry: Entry, group: Group) -> None:
        """KILL what runs inside, not those outside who clean up after it."""
        living = entry.living()
        if living.leader is not None:
            send(living.leader, SIGKILL)  # the kernel ends its pid namespace with it
        elif living.supervisor is not None and not living.began:
            send(living.supervisor, SIGTERM)
        group.kill("payload")

    def _verify(self, entry: Entry, group: Group) -> bool:
        if not group.remove() or entry.living().all:
            return False
        deadline = time.monotonic() + 2
        while entry.locked():  # a child forked meanwhile may hold a copy until its exec
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    async def destroy(self, name: str) -> None:
        await self.stop(name, 0)
        await asyncio.to_thread(self._forget, name)

    def _forget(self, name: str) -> None:
        entry = self._cabinet.entry(name)
        record = entry.record()
        if record is not None:
            home = self._layout.agent(record.uid)
            if home.is_dir():
                skeleton.set_aside(home)
                skeleton.sweep(home)
        for log in (self._log(name), self._log(name).with_name(f"{name}.log.1")):
            log.unlink(missing_ok=True)
        entry.remove()


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise RuntimeFailure("BadContainer", f"{name[:60]!r} is no name of a container")
    return name


def _explained(name: str, error: Exception) -> RuntimeFailure:
    if isinstance(error, RuntimeFailure):  # said below for any container: say which
        return RuntimeFailure(error.reason, f"{name}: {error.message}", permanent=error.permanent)
    return RuntimeFailure("StartFailed", f"{name}: {error}")
