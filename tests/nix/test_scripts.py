"""The scripts of the flake's machines: Python that compiles, and commands of `hive` that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.nix_env import Nix

STUB = Path(__file__).resolve().parent / "stub"
STAND_INS = (
    *("--no-write-lock-file", "--override-input", "nixpkgs", "path:/stub/nixpkgs"),
    *("--override-input", "treefmt-nix", "path:/stub/treefmt"),
)


class Host:
    """Answers as a machine with one open proposal."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def succeed(self, command: str) -> str:
        self.ran.append(command)
        if user := re.search(r"ps -o user.* (hive-\w+)", command):
            return user[1]
        return '[{"n": 3, "effect": {"digest": "abc"}}]' if "--json" in command else "1"

    def __getattr__(self, _name: str) -> Any:
        return lambda command="", **_: self.ran.append(str(command))


@pytest.mark.parametrize("name", ["nixos", "nixos-container"])
def test_the_script_runs_on_a_host_that_says_yes(nix: Nix, source: Path, name: str) -> None:
    script = f"path:/src#checks.x86_64-linux.{name}.testScript"
    binds = {source: "/src", STUB: "/stub"}
    done = nix.run("nix", "eval", "--json", *STAND_INS, script, binds=binds)
    assert done.returncode == 0, done.stderr
    host = Host()
    exec(compile(json.loads(done.stdout), name, "exec"), _world(host))
    listed = subprocess.run(
        [sys.executable, "-m", "hive_reconciler.app.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    used = {found for command in host.ran for found in re.findall(r"\bhive ([a-z]+)", command)}
    assert "status" in used
    for command in used:
        assert re.search(rf"^ +{command}\b", listed, re.MULTILINE), command
    if name == "nixos":
        assert "hive approve 3 --expect abc" in host.ran


def _world(host: Host) -> dict[str, Any]:
    class Subtest:
        def __init__(self, _title: str) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    return {"host": host, "subtest": Subtest}
