"""Containers by systemd-nspawn, in a user namespace of their own. Needs root, not systemd."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from .base import Bind, Container, Finding, RuntimeFailure
from .launch import Launch
from .logs import LIMIT
from .records import MARKER, Record
from .skeleton import host_binds
from .supervised import SupervisedRuntime

PROGRAM = "/usr/bin/systemd-nspawn"
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


class NspawnRuntime(SupervisedRuntime):
    """See Runtime. One supervisor (systemd-nspawn) and one shim per container."""

    name = "nspawn"

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
            raise RuntimeFailure(
                "UnsupportedNetwork",
                f'{container.name}: network.mode = "private" is not there yet; '
                'use "none" (model access works) or "host"',
                permanent=True,
            )

    def _held_otherwise(self) -> frozenset[str]:
        return frozenset()

    def _command(self, container: Container, root: Path, record: Record) -> Launch:
        entry = self._cabinet.entry(container.name)
        group = self._groups.group(container.name)
        shims = self._groups.shims()
        shims.make()
        oom = group.oom_file()
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
            seccomp="",
        )

    async def _after(self, name: str) -> None:
        # What a killed supervisor leaves; a directory of its own, empty.
        path = Path("/run/systemd/nspawn/propagate") / self._layout.machine(name)
        if path.is_dir():
            await asyncio.to_thread(path.rmdir)

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
        *container.argv,
    )


def _bind(bind: Bind) -> str:
    kind = "--bind-ro" if bind.read_only else "--bind"
    source, target = (
        str(p).replace("\\", "\\\\").replace(":", "\\:") for p in (bind.source, bind.target)
    )
    return f"{kind}={source}:{target}{':idmap' if bind.idmap else ''}"
