"""Containers by systemd-nspawn, in a user namespace of their own. Needs root, not systemd."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hive_wire.paths import Layout

from . import network, seccomp, userland
from .base import Bind, Container, Finding, Observed, Phase, RuntimeFailure
from .filter_watch import FilterWatch
from .launch import Launch
from .logs import LIMIT
from .network_rules import table
from .processes import Process, alive
from .records import MARKER, Record
from .skeleton import host_binds
from .supervised import SupervisedRuntime
from .wiring import Wiring

PROGRAM = userland.program("systemd-nspawn")
# Root inside needs none of these for its work, and each widens what the kernel lets it reach.
DROPPED = (
    *("CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE", "CAP_SYS_TTY_CONFIG"),
    *("CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_LINUX_IMMUTABLE"),
    *("CAP_AUDIT_CONTROL", "CAP_AUDIT_WRITE"),
)
ENVIRONMENT = {
    "PATH": "/usr/bin:/usr/sbin:/bin:/sbin",
    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",  # no v1 controllers inside, and v262 insists
    "SYSTEMD_LOG_LEVEL": "notice",
}


# PID 1 waits here until its network is there; what an agent runs must never find it half made.
GATE = Path("/etc/hive-gate")
WAIT = ("/bin/sh", "-c", f'read -r _ <{GATE}; exec "$@"', "sh")
GATE_SECONDS = 10
RESOLV = Path("/etc/resolv.conf")
AT_GATE = "gate"  # beside the record while PID 1 waits
FILTER_SECONDS = 5.0  # that an observation waits for the filter to be put back
LEFT = Path("/run/systemd/nspawn")


class NspawnRuntime(SupervisedRuntime):
    """See Runtime. One supervisor (systemd-nspawn) and one shim per container."""

    name = "nspawn"
    networks = frozenset({"none", "private", "host"})

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self._wiring = Wiring(layout, self._cabinet)
        self._refresh: asyncio.Task[str] | None = None
        self._filter_watch: FilterWatch | None = None

    def _refuse(self, container: Container) -> None:
        if os.geteuid() != 0:
            raise RuntimeFailure(
                "NeedsRoot", "the runtime nspawn needs root; use --runtime process", permanent=True
            )
        if not Path(PROGRAM).exists():
            raise RuntimeFailure(
                "NoIsolation",
                f"{PROGRAM} is missing; install it (Debian: apt install systemd-container)",
            )
        if container.network == "private":
            network.require()

    def _held_otherwise(self) -> frozenset[str]:
        return frozenset()

    def _command(self, container: Container, root: Path, record: Record) -> Launch:
        entry = self._cabinet.entry(container.name)
        group = self._groups.group(container.name)
        shims = self._groups.shims()
        shims.make()
        oom = group.oom_file()
        _clear(record.machine)
        if container.network == "private":
            os.mkfifo(root / GATE.relative_to("/"), 0o600)
            (entry.path / AT_GATE).touch()
            names = Bind(self._wiring.names(container.name), RESOLV)
            container = replace(container, binds=(*container.binds, names))
        return Launch(
            kind="nspawn",
            argv=command(container, root, record),
            environment=dict(ENVIRONMENT),
            folder=str(entry.path),
            log=str(self._log(container.name)),
            log_bytes=LIMIT,
            marker=f"{MARKER}={record.token}",
            doors=group.doors(),
            shim_doors=shims.doors(),
            oom_file=None if oom is None else str(oom),
            rlimits={},
            seccomp=seccomp.program().hex(),
        )

    def _files(self, container: Container) -> dict[str, str]:
        files = super()._files(container)
        if container.network == "private":
            files[str(RESOLV.relative_to("/"))] = ""  # something is bound there
        elif container.network == "host":
            files[str(RESOLV.relative_to("/"))] = RESOLV.read_text()
        return files

    async def observe(self) -> tuple[Observed, ...]:
        seen = await super().observe()
        trouble = await self._filter_trouble()
        return tuple(self._judged(one, trouble) for one in seen)

    async def _filter_trouble(self) -> str:
        """Why the filter of private networks could not be put back, or "". That is the trouble of
        those that have one: a tool that fails or hangs keeps nobody from seeing the others."""
        refresh = self._refreshed()
        await asyncio.wait((refresh,), timeout=FILTER_SECONDS)
        if not refresh.done():
            return f"nft or ip did not end in {FILTER_SECONDS:g} s"
        return refresh.result()

    def _refreshed(self) -> asyncio.Task[str]:
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.create_task(asyncio.to_thread(self._wiring.refresh))
        return self._refresh

    def adopt(self, on_change: Callable[[str], None]) -> None:
        super().adopt(on_change)
        with contextlib.suppress(OSError):  # then the next observation puts the filter back
            self._filter_watch = FilterWatch(table(self._layout.tag), self._put_back)

    def _put_back(self) -> None:
        """The filter is gone. One that is being loaded now may have been there before."""
        if self._filter_watch is None:
            return
        if self._refresh is not None and not self._refresh.done():
            self._refresh.add_done_callback(lambda _: self._put_back())
        else:
            self._refreshed()

    def _judged(self, seen: Observed, trouble: str) -> Observed:
        """PID 1 at its gate is a start of ours, or one that died half-way and only stop() cures."""
        if seen.phase is not Phase.RUNNING:
            return seen
        if trouble and self._wiring.has(seen.name):
            seen = replace(seen, unenforced=(*seen.unenforced, f"network ({trouble})"))
        if not self._at_gate(seen.name):
            return seen
        phase = Phase.STARTING if seen.name in self._starting else Phase.BROKEN
        return replace(seen, phase=phase, revision=None, restart_key=None)

    def _at_gate(self, name: str) -> bool:
        return (self._cabinet.entry(name).path / AT_GATE).exists()

    async def _started(self, container: Container, leader: Process) -> None:
        if container.network != "private":  # the run before may have been, and ended by itself
            with contextlib.suppress(RuntimeFailure):  # its end does it again
                await asyncio.to_thread(self._wiring.disconnect, container.name)
            return
        await asyncio.to_thread(self._wiring.connect, container.name, leader)
        root = self._layout.agent(container.uid) / "root"
        await asyncio.to_thread(_open_gate, root / GATE.relative_to("/"), leader)
        (self._cabinet.entry(container.name).path / AT_GATE).unlink()

    async def _ended(self, name: str) -> None:
        await asyncio.to_thread(self._wiring.disconnect, name)
        await asyncio.to_thread(_clear, self._layout.machine(name))

    async def close(self) -> None:
        if self._filter_watch is not None:
            self._filter_watch.close()
            self._filter_watch = None
        await super().close()
        if self._refresh is not None:
            await asyncio.wait((self._refresh,))

    async def doctor(self) -> tuple[Finding, ...]:
        from .doctor import nspawn_findings

        return await asyncio.to_thread(nspawn_findings, self._layout)


def command(container: Container, root: Path, record: Record) -> tuple[str, ...]:
    """The supervisor's argv. Nothing of the host's settings for machines is read."""
    network = [] if container.network == "host" else ["--private-network"]
    return (
        PROGRAM,
        *("--quiet", "--settings=no", "--register=no", "--keep-unit"),
        *(f"--machine={record.machine}", f"--hostname={container.name}"),
        *(f"--directory={root}", "--link-journal=no", "--timezone=off", "--resolv-conf=off"),
        *("--private-users=pick", "--private-users-ownership=map"),
        *network,
        *("--console=pipe", "--notify-ready=no", "--kill-signal=SIGTERM"),
        *("--no-new-privileges=yes", f"--drop-capability={','.join(DROPPED)}"),
        *(_bind(bind) for bind in (*host_binds(), *container.binds)),
        *(f"--setenv={name}={value}" for name, value in container.environment),
        f"--setenv={MARKER}={record.token}",
        "--chdir=/state",
        "--",
        *(WAIT if container.network == "private" else ()),
        *container.argv,
    )


def _clear(machine: str) -> None:
    """Remove what a killed supervisor leaves of itself: where the second is still mounted,
    systemd-nspawn 256 and newer refuse to start."""
    for path in (LEFT / "propagate" / machine, LEFT / "unix-export" / machine):
        if os.path.ismount(path):
            subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
        with contextlib.suppress(OSError):
            path.rmdir()


def _open_gate(gate: Path, leader: Process) -> None:
    """Let PID 1 go. Nothing of the agent's has run yet, so the path is still ours."""
    deadline = time.monotonic() + GATE_SECONDS
    while alive(leader) and time.monotonic() < deadline:
        try:
            fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno != errno.ENXIO:  # not there to read yet
                raise
            time.sleep(0.002)
            continue
        os.write(fd, b"\n")
        os.close(fd)
        return
    raise RuntimeFailure("StartFailed", "PID 1 did not wait for its network")


def _bind(bind: Bind) -> str:
    kind = "--bind-ro" if bind.read_only else "--bind"
    source, target = (
        str(p).replace("\\", "\\\\").replace(":", "\\:") for p in (bind.source, bind.target)
    )
    return f"{kind}={source}:{target}{':idmap' if bind.idmap else ''}"
