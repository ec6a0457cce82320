"""The nixos runtime on a host of its own: Debian with systemd as PID 1, machined and nix."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.needs import lacking, need
from support.nix_env import NixUnavailable, unpacked_tree

REPOSITORY = Path(__file__).resolve().parents[2]
HOST = Path(__file__).parent / "host"
RECORDED = Path(__file__).parent / "recorded"
SOURCES = ("flake.nix", "flake.lock", "modules", "pkgs", "requirements.lock", "templates")
CODE = ("wire", "reconciler", "broker", "gateway", "harness", "dashboard")
PACKAGES = (
    "dbus",
    "git",
    "iproute2",
    "libnss-systemd",
    "nix-bin",
    "procps",
    "python3",
    "python3-pydantic",
    "systemd",
    "systemd-container",
    "systemd-sysv",
)
REBOOTS = 133  # how nspawn says that its payload wants to be started again
NIX_CONF = """experimental-features = nix-command flakes
substitute = false
sandbox = false
build-users-group =
"""


@pytest.fixture(scope="session")
def debian() -> Path:
    need("systemd-nspawn")
    try:
        return unpacked_tree(PACKAGES, "host", variant="minbase")
    except NixUnavailable as problem:
        lacking(str(problem))


@contextlib.contextmanager
def own_cgroups(name: str) -> Iterator[list[Path]]:
    """A control group in every hierarchy, so that nothing else is in what nspawn takes over."""
    top = Path("/sys/fs/cgroup")
    names = ("systemd", "unified", "memory", "pids", "cpu")
    hierarchies = [top / n for n in names if (top / n).is_dir()] or [top]
    groups = [hierarchy / name for hierarchy in hierarchies]
    for group in groups:
        group.mkdir()
    try:
        yield groups
    finally:
        for group in groups:
            for directory in sorted(group.rglob("*/"), reverse=True):
                with contextlib.suppress(OSError):
                    directory.rmdir()
            group.rmdir()


@pytest.fixture
def many_watches() -> Iterator[None]:
    """NixOS allows 524288; a distribution's 128 do not hold twenty systemds."""
    file = Path("/proc/sys/fs/inotify/max_user_instances")
    before = int(file.read_text())
    file.write_text(str(max(before, 4096)))
    yield
    file.write_text(str(before))


def prepare(path: Path) -> dict[str, Path]:
    """Directories to bind: overlays cannot be id-mapped, so what containers use is outside."""
    source = path / "src"
    for name in (*SOURCES, *CODE, "tests/nix", "tests/nixos"):
        origin, target = REPOSITORY / name, source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(origin, target)
    units = path / "units"
    shutil.copytree(HOST, units, ignore=shutil.ignore_patterns("*.py"))
    wanted = units / "multi-user.target.wants"
    wanted.mkdir()
    for unit in ("lifecycle.service", "nix-daemon.service"):
        (wanted / unit).symlink_to(f"../{unit}")
    (path / "nix.conf").write_text(NIX_CONF)
    (path / "users.conf").write_text("u hive-eval -\n")
    binds = {"/src": source, "/etc/systemd/system": units, "/test": HOST}
    binds["/etc/nix/nix.conf"] = path / "nix.conf"
    binds["/usr/lib/sysusers.d/hive.conf"] = path / "users.conf"
    for target in ("/out", "/nix", "/root", "/var/lib/hyperhive", "/etc/nixos-containers"):
        binds[target] = path / target.strip("/").replace("/", "-")
        binds[target].mkdir()
    binds["/var/lib/nixos-containers"] = path / "roots"
    binds["/var/lib/nixos-containers"].mkdir()
    (binds["/var/lib/hyperhive"]).chmod(0o711)
    return binds


def boot(debian: Path, binds: dict[str, Path]) -> subprocess.CompletedProcess[str]:
    """Run the host until it powers off or reboots."""
    name = f"hivetest-{uuid.uuid4().hex[:8]}"
    flags = [f"--bind={source}:{target}" for target, source in binds.items()]
    with own_cgroups(name) as groups:
        enter = "; ".join(f"echo $$ > {group}/cgroup.procs" for group in groups)
        return subprocess.run(
            [
                *("sh", "-c", f'{enter}; exec "$@"', "sh", "systemd-nspawn", "-q", "-b"),
                *("-D", str(debian), "-M", name, "--register=no", "--keep-unit"),
                *("--volatile=overlay", "--capability=all", "--private-network"),
                *("--kill-signal=SIGRTMIN+3", "--console=pipe", "--notify-ready=yes", *flags),
            ],
            env={
                **os.environ,
                "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes",
                "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=270,
            check=False,
        )


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("many_watches")
def test_the_whole_life_on_a_host_of_its_own(debian: Path, tmp_path: Path) -> None:
    path = Path(os.path.realpath(tmp_path))
    path.chmod(0o755)
    binds = prepare(path)
    booted = boot(debian, binds)
    if booted.returncode == REBOOTS:
        booted = boot(debian, binds)
    log = binds["/out"] / "log"
    said = log.read_text() if log.exists() else booted.stdout[-3000:] + booted.stderr[-3000:]
    result = binds["/out"] / "result"
    assert result.exists() and result.read_text() == "ok", said
    if "HIVE_UPDATE_GOLDEN" in os.environ:
        for name in ("systemctl-show.txt", "machinectl-list.json"):
            shutil.copyfile(binds["/out"] / name, RECORDED / name)
    print(json.dumps(json.loads((binds["/out"] / "report.json").read_text()), indent=2))
