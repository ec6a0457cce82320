"""The real Claude Code CLI, fetched once from npm into a cache: two pinned versions."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

VERSION = "2.1.330"
OLDEST = "2.1.197"  # of those that are tested


class NoCli(Exception):
    """The CLI cannot be had here; the message says why."""


def cache_dir() -> Path:
    """$HIVE_TEST_CACHE, else ~/.cache/hyperhive."""
    given = os.environ.get("HIVE_TEST_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "hyperhive"


def claude_cli(version: str = VERSION) -> Path:
    """The path of the CLI's binary. $HIVE_CLAUDE is taken for the newer one. Raises NoCli."""
    given = os.environ.get("HIVE_CLAUDE")
    if given and version == VERSION:
        return Path(given)
    folder = cache_dir() / f"claude-code-{version}"
    binary = folder / "claude"
    if binary.exists():
        return binary
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "fetch.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            _fetch(folder, version)
    return binary


def _fetch(folder: Path, version: str) -> None:
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine())
    if machine is None or shutil.which("npm") is None:
        raise NoCli(f"npm and an x86_64 or aarch64 machine are needed, or HIVE_CLAUDE={folder}")
    package = f"@anthropic-ai/claude-code-linux-{machine}@{version}"
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        packed = subprocess.run(
            ["npm", "pack", "--silent", package],
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        tarballs = list(Path(scratch).glob("*.tgz"))
        if packed.returncode != 0 or len(tarballs) != 1:
            raise NoCli(f"npm pack {package} failed: {packed.stderr.strip()[-500:]}")
        subprocess.run(["tar", "-xzf", tarballs[0]], cwd=scratch, check=True, timeout=300)
        os.chmod(Path(scratch) / "package" / "claude", 0o755)
        os.rename(Path(scratch) / "package", folder)


if __name__ == "__main__":
    print(claude_cli())
