"""pkgs/bootstrap.sh: the environment of a checkout is that checkout's, and of its Python."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BOOTSTRAP = Path(__file__).resolve().parents[2] / "pkgs/bootstrap.sh"
# Installs nothing; says that it ran, and ends when the file `go` is there.
PIP = """
import os, sys, time
if "--version" not in sys.argv:
    with open(os.environ["RAN"], "a") as file: file.write("ran\\n")
    while not os.path.exists(os.environ["GO"]): time.sleep(0.01)
"""


class Checkout:
    def __init__(self, path: Path) -> None:
        self.path, self.venv = path, path / ".venv"

    def make(self) -> None:
        package = self.path / "wire/hive_wire"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (self.path / "a.lock").write_text("")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.venv], check=True)
        self.put_pip()

    def put_pip(self) -> None:
        (packages,) = self.venv.glob("lib/python3*/site-packages")
        (packages / "pip").mkdir()
        (packages / "pip/__init__.py").write_text("")
        (packages / "pip/__main__.py").write_text(PIP)

    def start(self, world: Path, path: str = "") -> subprocess.Popen[str]:
        script = f'set -eu; . {BOOTSTRAP}; make_venv "{self.venv}" "{self.path}" a.lock'
        environment = {
            "PATH": f"{path}{Path(sys.executable).parent}:/usr/bin:/bin",
            "RAN": str(world / "ran"),
            "GO": str(world / "go"),
        }
        return subprocess.Popen(
            ["bash", "-c", script], stderr=subprocess.PIPE, text=True, env=environment
        )

    def prepare(self, world: Path, path: str = "") -> str:
        (world / "go").touch()
        process = self.start(world, path)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        return said

    def package(self) -> str:
        code = "import hive_wire; print(hive_wire.__file__)"
        command = [self.venv / "bin/python", "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "one")
    made.make()
    return made


def test_it_is_prepared_once(checkout: Checkout, tmp_path: Path) -> None:
    assert "preparing" in checkout.prepare(tmp_path)
    assert checkout.prepare(tmp_path) == ""
    assert checkout.package().startswith(str(checkout.path))


def test_a_copy_of_a_checkout_runs_its_own_code(checkout: Checkout, tmp_path: Path) -> None:
    checkout.prepare(tmp_path)
    copy = Checkout(tmp_path / "two")
    shutil.copytree(checkout.path, copy.path, symlinks=True)
    (copy.path / "a.lock").touch()
    _without_pip_of_its_own(copy)
    copy.prepare(tmp_path)
    assert copy.package().startswith(str(copy.path))


def test_another_python_gets_another_environment(checkout: Checkout, tmp_path: Path) -> None:
    checkout.prepare(tmp_path)
    left = checkout.venv / "left"
    left.touch()
    newer = _another_python(tmp_path)
    _without_pip_of_its_own(checkout)
    assert "preparing" in checkout.prepare(tmp_path, newer)
    assert not left.exists()


def test_what_runs_from_it_keeps_its_packages(checkout: Checkout, tmp_path: Path) -> None:
    checkout.prepare(tmp_path)
    (packages,) = checkout.venv.glob("lib/python3*/site-packages")
    (packages / "late.py").write_text("")
    former = checkout.venv / "lib/python3.0"
    former.mkdir()
    code = "import sys; sys.stdin.read(); import late"
    command = [checkout.venv / "bin/python", "-c", code]
    running = subprocess.Popen(command, stdin=subprocess.PIPE)
    newer = _another_python(tmp_path)
    _without_pip_of_its_own(checkout)
    try:
        assert "still runs from" in checkout.prepare(tmp_path, newer)
        assert former.exists()
    finally:
        running.communicate()
    assert running.returncode == 0
    assert checkout.package().startswith(str(checkout.path))
    (checkout.path / "a.lock").write_text("# another\n")
    checkout.prepare(tmp_path, newer)
    assert not former.exists()


def test_two_at_once_prepare_it_once(checkout: Checkout, tmp_path: Path) -> None:
    first = checkout.start(tmp_path)
    assert first.stderr is not None
    assert "preparing" in first.stderr.readline()
    second = checkout.start(tmp_path)
    assert second.stderr is not None
    second.stderr.readline()
    (tmp_path / "go").touch()
    for process in (first, second):
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_unit_of_systemd_has_no_home(tmp_path: Path) -> None:
    """And the checkout of somebody else has an environment that is not ours."""
    (tmp_path / ".venv").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / ".venv", 65534, 65534)
    tmp_path.chmod(0o555)
    script = f'set -eu; . {BOOTSTRAP}; venv_dir "{tmp_path}"'
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    tmp_path.chmod(0o755)
    assert done.stdout.startswith(f"{pwd.getpwuid(os.geteuid()).pw_dir}/.cache/hyperhive/venv-")


def _another_python(world: Path) -> str:
    """What to put before PATH for a newer python3."""
    folder = world / "bin"
    folder.mkdir()
    (folder / "python3").write_text(
        f'#!/bin/sh\n[ "$1" = -V ] && echo Python 3.99.0 && exit\nexec {sys.executable} "$@"\n'
    )
    (folder / "python3").chmod(0o755)
    return f"{folder}:"


def _without_pip_of_its_own(checkout: Checkout) -> None:
    """What follows makes the environment anew, with the real pip, which has nothing to install."""
    pytest.importorskip("ensurepip")
    for folder in checkout.venv.glob("lib/python3*/site-packages/pip"):
        shutil.rmtree(folder)
