"""Runs test files once more as an unprivileged user, from a suite that runs as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.needs import STRICT

TREE = Path(__file__).parents[2]
NOBODY = 65534
# A child too: setpriv itself may still reach what its user may not.
CAN = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import pytest'], check=True)"


def pytest_as(user: int, *arguments: str, timeout: float = 300) -> None:
    """`pytest ARGUMENTS -m "not root"` as that uid, in a home of its own. Fails as it fails."""
    with _home(user) as home:
        python = next((p for p in (sys.executable, "/usr/bin/python3") if _can_run(user, p)), None)
        if python is None:
            pytest.fail("no Python here that another user may run with these packages")
        done = _run(
            user, home, timeout,
            *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not root"),
            *(f"--basetemp={home / 'tests'}", *arguments),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "passed" in done.stdout


@contextmanager
def _home(user: int) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hive-user-"))
    os.chown(path, user, user)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _can_run(user: int, python: str) -> bool:
    try:
        return _run(user, Path("/"), 60, python, "-c", CAN).returncode == 0
    except PermissionError:
        return False


def _run(user: int, home: Path, timeout: float, *command: str) -> subprocess.CompletedProcess[str]:
    packages = [sysconfig.get_paths()["purelib"], *(str(p) for p in TREE.glob("*/hive_*/.."))]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "USER": "tester",
        "LOGNAME": "tester",
        "PYTHONDONTWRITEBYTECODE": "1",
        STRICT: "1",
        "PYTHONPATH": ":".join(packages),
    }
    who = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return subprocess.run(
        [*who, *command],
        cwd=TREE, env=environment, capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip
