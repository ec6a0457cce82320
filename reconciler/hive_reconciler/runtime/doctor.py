"""What this machine can and cannot do for containers, each with a cure."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hive_wire.paths import Layout

from . import network, nspawn, process, skeleton
from .base import Bind, Container, Finding, RuntimeFailure
from .cgroups import LIMITS, Group, Groups
from .hierarchies import WANTED, trees
from .records import Record

SOCKET_BYTES = 107
TRIAL_SECONDS = 30
_ENTER = 'while [ "$1" != -- ]; do echo 0 >"$1" || exit; shift; done; shift; exec "$@"'
_SYSCTLS = {
    "kernel/unprivileged_userns_clone": "0",
    "user/max_user_namespaces": "0",
    "kernel/apparmor_restrict_unprivileged_userns": "1",
}


def nspawn_findings(layout: Layout) -> tuple[Finding, ...]:
    """For the runtime nspawn. Starts a container for a moment when it can."""
    return (
        _root(),
        _program(nspawn.PROGRAM, "systemd-container", (252,)),
        _kernel((5, 12), "mounts with mapped owners need it"),
        *_limits(),
        _sockets(layout),
        _network(),
        _trial(layout, "nspawn"),
    )


def process_findings(layout: Layout) -> tuple[Finding, ...]:
    """For the runtime process. Starts a container for a moment when it can."""
    trial = _trial(layout, "process")
    return (
        _program(process.PROGRAM, "bubblewrap", (0, 8)),
        _kernel((5, 14), "limits of processes per user namespace need it"),
        *_sysctls(works=trial.ok),
        *(f for f in _limits() if f.ok or f.what != "limit tasks"),  # RLIMIT_NPROC holds it
        _sockets(layout),
        trial,
    )


def _root() -> Finding:
    return Finding(
        os.geteuid() == 0,
        "root",
        "systemd-nspawn needs it",
        "run hive as root, or use --runtime process",
    )


def _program(path: str, package: str, oldest: tuple[int, ...]) -> Finding:
    name = Path(path).name
    install = f"Debian: apt install {package}"
    if not os.path.exists(path):
        return Finding(False, name, f"{path} is missing", install)
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, check=False, timeout=TRIAL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(False, name, str(error), install)
    found = re.search(r"[0-9]+(\.[0-9]+)*", done.stdout)
    version = tuple(int(part) for part in found[0].split(".")) if found else ()
    wanted = ".".join(str(part) for part in oldest)
    return Finding(
        version >= oldest,
        name,
        f"version {found[0] if found else 'unknown'}, {wanted} or newer is needed",
        f"a newer {package}",
    )


def _kernel(oldest: tuple[int, int], why: str) -> Finding:
    release = platform.release()
    found = re.match(r"([0-9]+)\.([0-9]+)", release)
    ok = found is not None and (int(found[1]), int(found[2])) >= oldest
    wanted = f"{oldest[0]}.{oldest[1]}"
    return Finding(ok, "kernel", f"{release}; {wanted} or newer: {why}", "a newer kernel")


def _limits() -> tuple[Finding, ...]:
    unheld = _unheld()
    who = "the machine's boot options" if os.geteuid() == 0 else "a session that delegates cgroups"
    return tuple(
        Finding(
            LIMITS[controller] not in unheld,
            f"limit {LIMITS[controller]}",
            f"cgroup controller {controller} is "
            + ("not ours to use: not enforced" if LIMITS[controller] in unheld else "ours to use"),
            f"{who} (`systemd-run --user --scope -p Delegate=yes hive up`), or accept it",
        )
        for controller in WANTED
    )


def _unheld() -> tuple[str, ...]:
    """Limits that no group of ours gets: a controller may be listed, and yet not given to one."""
    try:
        with _group() as group:
            return group.unenforced()
    except OSError:
        return tuple(LIMITS.values())


@contextlib.contextmanager
def _group() -> Iterator[Group]:
    """Made as a container's is, and removed with all that a supervisor makes in it."""
    groups = Groups(f"-doctor-{secrets.token_hex(4)}", trees())
    group = groups.group("trial")
    try:
        group.make()
        yield group
    finally:
        group.remove()
        groups.tidy()


def _sysctls(*, works: bool) -> tuple[Finding, ...]:
    """What keeps users from containers. Where one starts all the same, as by a profile of AppArmor,
    none is to be changed."""
    found = []
    for name, bad in _SYSCTLS.items():
        path = Path("/proc/sys", name)
        if path.exists():
            value = path.read_text().strip()
            key = name.replace("/", ".", 1)
            cure = f"as root: sysctl -w {key}={'0' if bad == '1' else '1' if 'clone' in key else '10000'}"
            found.append(Finding(works or value != bad, key, f"is {value}", cure))
    return tuple(found)


def _sockets(layout: Layout) -> Finding:
    longest = len(os.fsencode(layout.agent_run("x" * 12) / "model" / "model.sock"))
    return Finding(
        longest <= SOCKET_BYTES,
        "socket paths",
        f"{longest} bytes under {layout.run}; the kernel takes {SOCKET_BYTES}",
        "a shorter XDG_RUNTIME_DIR",
    )


def _network() -> Finding:
    what = 'network.mode = "private"'
    try:
        if (found := network.problem() or network.firewall()) is not None:
            return Finding(False, what, *found)
        servers = network.resolvers()
    except RuntimeFailure as failure:
        return Finding(False, what, failure.message, "run hive doctor again after a change")
    return Finding(
        bool(servers),
        what,
        f"possible; names are asked from {', '.join(servers) or 'nobody: no server is reachable'}",
        "name an IPv4 server in /etc/resolv.conf that is not this machine itself",
    )


def _trial(layout: Layout, runtime: str) -> Finding:
    what = f"a container of {runtime}"
    near = next(p for p in (layout.root, *layout.root.parents) if p.is_dir())
    try:
        home = Path(tempfile.mkdtemp(prefix="doctor-", dir=near))
    except OSError as error:
        return Finding(False, what, f"cannot write {near}: {error.strerror}", "another --root")
    try:
        problem = _try(home, runtime)
    except (OSError, RuntimeFailure, subprocess.TimeoutExpired) as error:
        problem = str(error)
    finally:
        skeleton.set_aside(home)
        skeleton.sweep(home)
        shutil.rmtree(home, ignore_errors=True)
    if not problem:
        return Finding(True, what, f"starts, with its files under {near}")
    return Finding(False, what, problem, _cure(problem, near))


def _try(home: Path, runtime: str) -> str:
    """Run `true` in a container for a moment: "" or what it said."""
    (home / "state").mkdir()
    container = Container(
        name="doctor",
        uid="doctor000000",
        agent="doctor",
        role="agent",
        revision="",
        restart_key="",
        memory=64 << 20,
        cpus=1,
        tasks=16,
        limits_required=False,
        network="none",
        binds=(Bind(home / "state", Path("/state"), read_only=False, idmap=True),),
        environment=(),
        argv=("/usr/bin/true",),
    )
    record = Record.of(container, f"doctor-{secrets.token_hex(4)}", 0.0, ())
    binds = (*skeleton.host_binds(), *container.binds)
    root = skeleton.make(home, "agent", binds, {})
    if runtime == "nspawn":
        argv, environment = nspawn.command(container, root, record), nspawn.ENVIRONMENT
    else:
        argv = _without_descriptors(process.command(container, root, record, filtered=False))
        environment = {}
    with _group() as group:
        done = subprocess.run(
            ("/bin/sh", "-c", _ENTER, "sh", *group.doors(), "--", *argv),
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=environment,
            check=False,
            timeout=TRIAL_SECONDS,
        )
    if done.returncode == 0:
        return ""
    return (done.stderr or done.stdout).strip()[-500:] or f"it ended with {done.returncode}"


def _without_descriptors(argv: tuple[str, ...]) -> tuple[str, ...]:
    at = argv.index("--info-fd")
    return argv[:at] + argv[at + 4 :]


def _cure(problem: str, near: Path) -> str:
    low = problem.lower()
    if "id mapped" in low or "idmap" in low:
        return f"a --root on ext4, xfs or btrfs: the file system of {near} cannot map owners"
    if "uid map" in low or "namespace" in low or "operation not permitted" in low:
        return "allow user namespaces for this user (see the sysctl lines; AppArmor, containers)"
    return "the message above is the program's own; run hive doctor again after a change"
