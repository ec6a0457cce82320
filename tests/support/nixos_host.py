"""A host of its own for tests: Debian with systemd as PID 1, machined and nix, in systemd-nspawn.

Its image and the Python packages of requirements.lock are fetched once and cached.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sysconfig
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.nix_env import NixUnavailable, cache_directory, unpacked_tree

REPOSITORY = Path(__file__).resolve().parents[2]
HOST = REPOSITORY / "tests/nixos/host"
SOURCES = ("flake.nix", "modules", "pkgs", "requirements.lock", "templates")
CODE = ("wire", "reconciler", "broker", "gateway", "harness", "dashboard")
TESTS = ("tests/nix", "tests/nixos", "tests/support")
PYTHON = "3.13"  # the suite's
PACKAGES = (
    "ca-certificates",
    "dbus",
    "git",
    "iproute2",
    "libnss-systemd",
    "nix-bin",
    "openssh-client",
    "procps",
    "python3",
    "systemd",
    "systemd-container",
    "systemd-sysv",
)
REBOOTS = 133  # how nspawn says that its payload wants to be started again
KEPT = ("/out", "/nix", "/root", "/var/lib/hyperhive", "/etc/nixos-containers")
NIX_CONF = """experimental-features = nix-command flakes
substitute = false
sandbox = false
build-users-group =
"""


@dataclass(frozen=True)
class NixosHost:
    """`binds` are its directories by where they are on it: what it writes there stays."""

    image: Path
    binds: dict[str, Path]

    @property
    def out(self) -> Path:
        return self.binds["/out"]

    def run(self, *, boots: int, seconds: float) -> str:
        """Boot, and again at each reboot up to `boots` times, until it is off. What it said."""
        said = ""
        for _ in range(boots):
            done = self._boot(seconds)
            said = done.stdout[-3000:] + done.stderr[-3000:]
            if done.returncode != REBOOTS:
                break
        log = self.out / "log"
        return log.read_text() if log.exists() else said

    def _boot(self, seconds: float) -> subprocess.CompletedProcess[str]:
        name = f"hivetest-{uuid.uuid4().hex[:8]}"
        flags = [f"--bind={source}:{target}" for target, source in self.binds.items()]
        with _own_cgroups(name) as groups:
            enter = "; ".join(f"echo $$ > {group}/cgroup.procs" for group in groups)
            return subprocess.run(
                [
                    *("sh", "-c", f'{enter}; exec "$@"', "sh", "systemd-nspawn", "-q", "-b"),
                    *("-D", str(self.image), "-M", name, "--register=no", "--keep-unit"),
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
                timeout=seconds,
                check=False,
            )


def image() -> Path:
    """Raises NixUnavailable."""
    return unpacked_tree(PACKAGES, "host", variant="minbase")


def prepare(image: Path, path: Path, *units: str) -> NixosHost:
    """A host that starts these units of tests/nixos/host, with all it keeps under `path`.

    Overlays cannot be id-mapped, so what containers use lies outside of its root.
    """
    path = Path(os.path.realpath(path))
    path.chmod(0o755)
    source = path / "src"
    for name in (*SOURCES, *CODE, *TESTS):
        origin, target = REPOSITORY / name, source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(origin, target)
    _with_stand_ins(source / "flake.nix")
    (path / "nix.conf").write_text(NIX_CONF)
    (path / "users.conf").write_text("u hive-eval -\n")
    binds = {"/src": source, "/usr/src/hive": source, "/usr/src/python": _python_packages()}
    binds["/etc/systemd/system"] = _units(path / "units", units)
    binds["/test"] = HOST
    binds["/etc/nix/nix.conf"] = path / "nix.conf"
    binds["/usr/lib/sysusers.d/hive.conf"] = path / "users.conf"
    for target in KEPT:
        binds[target] = path / target.strip("/").replace("/", "-")
        binds[target].mkdir()
    binds["/var/lib/nixos-containers"] = path / "roots"
    binds["/var/lib/nixos-containers"].mkdir()
    binds["/var/lib/hyperhive"].chmod(0o711)
    return NixosHost(image, binds)


def _with_stand_ins(flake: Path) -> None:
    """The same flake on our stand-ins for its inputs: nothing is fetched."""
    text = flake.read_text()
    for url, place in (
        ('"github:NixOS/nixpkgs/nixos-26.05"', '"path:/src/tests/nix/stub/nixpkgs"'),
        ('"github:numtide/treefmt-nix"', '"path:/src/tests/nix/stub/treefmt"'),
        ('inputs.nixpkgs.follows = "nixpkgs";', ""),
    ):
        assert text.count(url) == 1, f"flake.nix has {url} no more"
        text = text.replace(url, place)
    flake.write_text(text)


def _units(directory: Path, wanted: tuple[str, ...]) -> Path:
    shutil.copytree(HOST, directory, ignore=shutil.ignore_patterns("*.py", "*.nix"))
    wants = directory / "multi-user.target.wants"
    wants.mkdir()
    for unit in ("nix-daemon.service", *wanted):
        (wants / unit).symlink_to(f"../{unit}")
    return directory


def _python_packages() -> Path:
    """What requirements.lock names, for the host's Python. Raises NixUnavailable."""
    lock = REPOSITORY / "requirements.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / f"python{PYTHON}-{digest}"
    with (cache / "python.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not place.is_dir():
            _fetch(lock, place)
    return place


def _fetch(lock: Path, place: Path) -> None:
    beside = place.with_name(place.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    done = subprocess.run(
        [
            *(str(uv), "pip", "install", "--quiet", "--no-cache", "--target", str(beside)),
            *("--python-version", PYTHON, "--python-platform", "linux"),
            *("--only-binary", ":all:", "--require-hashes", "--requirement", str(lock)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NixUnavailable(f"no packages for the host's Python: {done.stderr[-500:]}")
    beside.rename(place)


@contextlib.contextmanager
def _own_cgroups(name: str) -> Iterator[list[Path]]:
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


@contextlib.contextmanager
def many_watches() -> Iterator[None]:
    """NixOS allows 524288; a distribution's 128 do not hold twenty systemds."""
    file = Path("/proc/sys/fs/inotify/max_user_instances")
    before = int(file.read_text())
    file.write_text(str(max(before, 4096)))
    yield
    file.write_text(str(before))
