"""The same tests once more without root: as an unprivileged user with the other runtime."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

USER = 60000 + os.getpid() % 5000  # no account: limits and files of others stay apart
HERE = Path(__file__).parent
TREE = HERE.parents[1]
# A child too: setpriv itself may still reach what its user may not.
CAN = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import pytest'], check=True)"
FILES = (
    "test_lifecycle.py",
    "test_adoption.py",
    "test_escape.py",
    "test_process.py",
    "test_toolchain.py",
)


@pytest.fixture
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hive-user-"))
    os.chown(path, USER, USER)
    yield path
    shutil.rmtree(path)


def _run(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    packages = [sysconfig.get_paths()["purelib"], *(str(p) for p in TREE.glob("*/hive_*/.."))]
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "USER": "tester",
        "LOGNAME": "tester",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": ":".join(packages),
    }
    who = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    return subprocess.run(
        [*who, *command],
        cwd=TREE,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.timeout(320)
@pytest.mark.parametrize("file", FILES)
def test_without_root(home: Path, file: str) -> None:
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            if _run(home, python, "-c", CAN).returncode == 0:
                break
        except PermissionError:
            continue
    else:
        pytest.skip("no Python here that another user may run with these packages")
    done = _run(
        home,
        *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not root"),
        *(f"--basetemp={home / 'tests'}", str(HERE / file)),
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
