"""Containers by bubblewrap, for users without root. No network; limits as far as they go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from pathlib import Path

from . import userland
from .base import Container, Finding, RuntimeFailure
from .launch import Launch
from .logs import LIMIT
from .processes import Process, tree
from .records import MARKER, Record
from .seccomp import program
from .skeleton import host_binds
from .supervised import SupervisedRuntime

PROGRAM = userland.program("bwrap")
# Of the whole machine or the whole user, not of the container.
MASKED = ("kallsyms", "kcore", "keys", "key-users", "sysrq-trigger", "timer_list")
ROUNDS = 100  # of looking for what was forked meanwhile
INFO, WAIT, RULES = 3, 4, 5  # descriptors that the shim arranges


class ProcessRuntime(SupervisedRuntime):
    """See Runtime. One supervisor (bwrap) and one shim per container, all of the caller's user."""

    name = "process"
    networks = frozenset({"none"})

    def _refuse(self, container: Container) -> None:
        if os.geteuid() == 0:
            raise RuntimeFailure(
                "ProcessAsRoot",
                "the runtime process is for users without root; as root use --runtime nspawn",
                permanent=True,
            )
        if not Path(PROGRAM).exists():
            raise RuntimeFailure(
                "NoIsolation",
                f"{PROGRAM} is missing: without bubblewrap nothing keeps agents apart "
                "(Debian: apt install bubblewrap)",
            )
        if container.network != "none":
            raise RuntimeFailure(
                "UnsupportedNetwork",
                f'{container.name}: the runtime process has network.mode = "none" only '
                f'(model access works), not "{container.network}"; as root nspawn has it',
                permanent=True,
            )

    def _held_otherwise(self) -> frozenset[str]:
        return frozenset({"tasks"})  # RLIMIT_NPROC counts per user namespace

    def _command(self, container: Container, root: Path, record: Record) -> Launch:
        entry = self._cabinet.entry(container.name)
        group = self._groups.group(container.name)
        shims = self._groups.shims()
        shims.make()
        oom = group.oom_file()
        rules = program()
        return Launch(
            kind="bwrap",
            argv=command(container, root, record, filtered=bool(rules)),
            environment={"PATH": "/usr/bin:/bin"},
            folder=str(entry.path),
            log=str(self._log(container.name)),
            log_bytes=LIMIT,
            marker=f"{MARKER}={record.token}",
            doors=group.doors(),
            shim_doors=shims.doors(),
            oom_file=None if oom is None else str(oom),
            rlimits={"RLIMIT_NPROC": container.tasks, "RLIMIT_CORE": 0},
            seccomp=rules.hex(),
        )

    def _update(self, container: Container) -> None:
        super()._update(container)
        leader = self._cabinet.entry(container.name).living().leader
        if leader is not None:
            _lower(leader, container.tasks)

    async def doctor(self) -> tuple[Finding, ...]:
        from .doctor import process_findings

        return await asyncio.to_thread(process_findings, self._layout)


def _lower(leader: Process, tasks: int) -> None:
    """Hold all that runs to fewer tasks; more are had at the next start, by the kernel's rules."""
    done: frozenset[Process] = frozenset()
    for _ in range(ROUNDS):
        fresh = tree(leader) - done
        if not fresh:
            return
        for process in fresh:  # one that is forked from here on inherits it
            with contextlib.suppress(ProcessLookupError, PermissionError):
                _, most = resource.prlimit(process.pid, resource.RLIMIT_NPROC)
                if most == resource.RLIM_INFINITY or most > tasks:
                    resource.prlimit(process.pid, resource.RLIMIT_NPROC, (tasks, tasks))
        done |= fresh


def command(container: Container, root: Path, record: Record, *, filtered: bool) -> tuple[str, ...]:
    """The supervisor's argv. Of the host's tree only what is bound is there."""
    binds = [
        word
        for bind in (*host_binds(), *container.binds)
        for word in (
            "--ro-bind" if bind.read_only else "--bind",
            str(bind.source),
            str(bind.target),
        )
    ]
    variables = [
        word
        for name, value in (*container.environment, (MARKER, record.token))
        for word in ("--setenv", name, value)
    ]
    masks = [
        word
        for path in (f"/proc/{name}" for name in MASKED)
        if os.path.exists(path)
        for word in ("--ro-bind", "/dev/null", path)
    ]
    return (
        PROGRAM,
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup-try", "--disable-userns", "--new-session", "--die-with-parent"),
        *("--as-pid-1", "--uid", "0", "--gid", "0", "--hostname", container.name),
        *("--info-fd", str(INFO), "--block-fd", str(WAIT)),
        *(("--seccomp", str(RULES)) if filtered else ()),
        *("--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev", *masks),
        *("--size", str(container.memory), "--tmpfs", "/tmp"),
        *("--size", str(container.memory), "--tmpfs", "/run"),
        *binds,
        *("--clearenv", "--setenv", "PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
        *("--setenv", "HOME", "/root", "--setenv", "LANG", "C.UTF-8", *variables),
        *("--chdir", "/state", "--"),
        *container.argv,
    )
