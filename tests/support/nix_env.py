"""A nix of our own for tests: Debian trixie's, unpacked once, run in bubblewrap without network."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "trixie"
RECIPE = "2"  # raise it when PACKAGES or the unpacking change
PACKAGES = ("nix-bin",)
CONFIG = """experimental-features = nix-command flakes
substitute = false
sandbox = false
build-users-group =
"""


class NixUnavailable(Exception):
    """This machine cannot get a nix. The message says what lacks."""


def cache_directory() -> Path:
    base = os.environ.get("HIVE_TEST_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hyperhive"
    )
    return Path(base)


def debian_mirror() -> str:
    """The mirror that apt uses. Raises NixUnavailable."""
    found = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in found.stdout.splitlines():
        if line and "security" not in line:
            return line
    raise NixUnavailable("apt-get knows no Debian mirror: run apt-get update")


def unpacked_tree(
    packages: Sequence[str] = PACKAGES, name: str = "nix", *, variant: str = "extract"
) -> Path:
    """The directory with the packages' files: about 30 s and 180 MB the first time."""
    for tool in ("mmdebstrap", "bwrap", "apt-get"):
        if shutil.which(tool) is None:
            raise NixUnavailable(f"{tool} is missing: apt-get install mmdebstrap bubblewrap")
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    tree = cache / f"{name}-{SUITE}-{RECIPE}"
    with open(cache / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.is_dir():
            if os.geteuid() != 0:
                raise NixUnavailable(f"{tree} is not there, and only root unpacks it here")
            _unpack(tree, packages, variant)
    return tree


def _unpack(tree: Path, packages: Sequence[str], variant: str) -> None:
    beside = tree.with_name(tree.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    made = subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            f"--variant={variant}",
            f"--include={','.join(packages)}",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            SUITE,
            str(beside),
            debian_mirror(),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        shutil.rmtree(beside, ignore_errors=True)
        raise NixUnavailable(f"mmdebstrap failed: {made.stderr.strip()[-500:]}")
    shell = beside / "usr/bin/sh"
    if not os.path.lexists(shell):  # nobody configured it
        shell.symlink_to("bash-static")
    beside.rename(tree)


@dataclass(frozen=True)
class Nix:
    """`state` holds the store and the home; commands see it, `binds` read-only, and no network."""

    tree: Path
    state: Path

    def run(
        self, *argv: str, binds: dict[Path, str] | None = None, cwd: str = "/"
    ) -> subprocess.CompletedProcess[str]:
        store, home = self.state / "nix", self.state / "home"
        for directory in (store, home):
            directory.mkdir(parents=True, exist_ok=True)
        command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session"]
        command += ["--ro-bind", str(self.tree / "usr"), "/usr"]
        for name in ("bin", "lib", "lib64"):
            command += ["--symlink", f"usr/{name}", f"/{name}"]
        command += ["--ro-bind", str(self.tree / "etc"), "/etc", "--proc", "/proc", "--dev", "/dev"]
        command += ["--tmpfs", "/tmp", "--bind", str(store), "/nix", "--bind", str(home), "/root"]
        for source, target in (binds or {}).items():
            command += ["--ro-bind", str(source), target]
        command += ["--clearenv", "--setenv", "HOME", "/root", "--setenv", "PATH", "/usr/bin"]
        command += ["--setenv", "NIX_CONFIG", CONFIG, "--chdir", cwd, *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
