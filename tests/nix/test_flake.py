"""The flake as a whole, with stand-ins for its inputs and no network."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.nix_env import Nix

from hive_reconciler.git.first import FirstCommit, first_files

REPOSITORY = Path(__file__).resolve().parents[2]
STUB = REPOSITORY / "tests/nix/stub"
SYSTEMS = ("x86_64-linux", "aarch64-linux")
PACKAGES = {"broker", "dashboard", "default", "gateway", "harness", "hive", "reconciler"}
CHECKS = {
    *(f"closure-{name}" for name in PACKAGES - {"default", "hive"}),
    *("formatting", "module-agent", "module-host", "nixos", "nixos-container"),
    *("unit", "versions"),
}
OVERRIDES = (
    "--no-write-lock-file",
    "--override-input",
    "nixpkgs",
    "path:/stub/nixpkgs",
    "--override-input",
    "treefmt-nix",
    "path:/stub/treefmt",
)


def flake(nix: Nix, source: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return nix.run("nix", "flake", *argv, binds={source: "/src", STUB: "/stub"})


def test_the_flake_checks_for_all_systems(nix: Nix, source: Path) -> None:
    done = flake(nix, source, "check", "--no-build", "--all-systems", *OVERRIDES, "path:/src")
    assert done.returncode == 0, done.stderr


def test_the_outputs_are_those_of_the_design(nix: Nix, source: Path) -> None:
    done = flake(nix, source, "show", "--json", "--all-systems", *OVERRIDES, "path:/src")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert set(shown["packages"]) == set(SYSTEMS)
    for system in SYSTEMS:
        assert set(shown["packages"][system]) == PACKAGES
        assert set(shown["checks"][system]) == CHECKS
        assert "default" in shown["devShells"][system]
        assert shown["formatter"][system]["type"] == "derivation"
    assert set(shown["nixosModules"]) == {"agent", "default", "hive-c0re"}
    assert set(shown["templates"]) == {"default", "swarm"}
    assert "lib" in shown


def test_the_lock_belongs_to_the_flake(nix: Nix, source: Path) -> None:
    """No input is missing in the lock or left over: nix has nothing to add."""
    done = flake(nix, source, "metadata", "--json", "--no-update-lock-file", "path:/src")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["locks"] == json.loads((source / "flake.lock").read_text())


def test_the_harness_depends_on_the_wire_alone(nix: Nix, source: Path) -> None:
    expression = (
        "let lib = import /stub/nixpkgs/lib; hive = import /src/pkgs { inherit lib;"
        ' pkgs = import /stub/nixpkgs/packages.nix { inherit lib; system = "x86_64-linux"; }; };'
        " in lib.mapAttrs (_: l: map (p: p.pname) l.resolved) hive.libraries"
    )
    done = nix.run(
        *("nix-instantiate", "--eval", "--strict", "--json", "-E", expression),
        binds={source: "/src", STUB: "/stub"},
    )
    assert done.returncode == 0, done.stderr
    resolved = json.loads(done.stdout)
    assert resolved["harness"] == ["hive-wire"]
    assert resolved["wire"] == []
    assert {"hive-wire", "pydantic", "mcp", "aiosqlite"} <= set(resolved["broker"])


@pytest.mark.parametrize(
    ("watchdog", "expected"),
    [
        ("6.0.0", []),
        ("4.0.0", ["watchdog: nixpkgs has 4.0.0, pyproject.toml wants 5"]),
        ("99.0", ["watchdog: nixpkgs has 99.0, requirements.lock 7.1.0"]),
    ],
)
def test_version_skew_is_bounded(
    nix: Nix, source: Path, watchdog: str, expected: list[str]
) -> None:
    expression = (
        "let lib = import /stub/nixpkgs/lib; skew = import /src/pkgs/skew.nix { inherit lib;"
        f' lockFile = /src/requirements.lock; python.pkgs.watchdog.version = "{watchdog}";'
        ' libraries.x.requirements = [ "hive-wire[models]" "watchdog>=5" ]; }; in skew'
    )
    done = nix.run(
        *("nix-instantiate", "--eval", "--strict", "--json", "-E", expression),
        binds={source: "/src", STUB: "/stub"},
    )
    assert done.returncode == 0, done.stderr
    skew = json.loads(done.stdout)
    assert skew["problems"] == expected
    assert skew["table"].startswith("watchdog\t5\t")


def test_no_version_is_out_of_bounds(nix: Nix, source: Path) -> None:
    """With the newest that nixos-26.05 can have, beside requirements.lock."""
    shown = f"path:/src#checks.{SYSTEMS[0]}.versions"
    apply = "v: { inherit (v) problems table; }"
    binds = {source: "/src", STUB: "/stub"}
    done = nix.run("nix", "eval", "--json", *OVERRIDES, shown, "--apply", apply, binds=binds)
    assert done.returncode == 0, done.stderr
    versions = json.loads(done.stdout)
    assert versions["problems"] == ""
    assert {"aiohttp", "mcp", "pygit2", "textual"} <= {
        row.split("\t")[0] for row in versions["table"].splitlines()
    }


NEW_SWARM = (
    *("--no-write-lock-file", "--override-input", "hyperhive", "path:/src"),
    *("--override-input", "hyperhive/nixpkgs", "path:/stub/nixpkgs"),
    *("--override-input", "hyperhive/treefmt-nix", "path:/stub/treefmt"),
)


def of_swarm(nix: Nix, source: Path, swarm: Path, attribute: str) -> Any:
    done = nix.run(
        *("nix", "eval", "--json", *NEW_SWARM, f"path:/swarm#nixosConfigurations{attribute}"),
        binds={source: "/src", STUB: "/stub", swarm: "/swarm"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_new_swarm_from_the_template_is_complete(nix: Nix, source: Path) -> None:
    """Its agents evaluate through its own flake, with the host's hyperhive put in."""
    swarm = source / "templates/swarm"
    assert of_swarm(nix, source, swarm, ".hm1nd.config.networking.hostName") == "hm1nd"


def test_what_a_new_hive_git_holds_evaluates(nix: Nix, source: Path, tmp_path: Path) -> None:
    for path, text in first_files(FirstCommit(engine="rehearsal")).items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    machine = json.dumps(platform.machine() + "-linux")
    found = of_swarm(nix, source, tmp_path, ".hm1nd.config.system.build.toplevel.system")
    assert json.dumps(found) == machine


def test_an_applied_repository_is_a_swarm(nix: Nix, source: Path) -> None:
    """`lib.mkSwarm ./applied-repo`, without further arguments."""
    expression = (
        "builtins.attrNames (import /src/modules/swarm.nix { self.nixosModules.agent = { };"
        " nixpkgs.lib = import /stub/nixpkgs/lib; } /src/templates/swarm)"
    )
    done = nix.run(
        *("nix-instantiate", "--eval", "--strict", "--json", "-E", expression),
        binds={source: "/src", STUB: "/stub"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["hm1nd"]


def test_nix_run_starts_the_hive_command(nix: Nix, source: Path) -> None:
    """`nix run .#hive -- up --rehearse`: the main program of the package with all processes."""
    for system in SYSTEMS:
        done = nix.run(
            *("nix", "eval", "--json", *OVERRIDES, f"path:/src#packages.{system}.hive.meta"),
            binds={source: "/src", STUB: "/stub"},
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["mainProgram"] == "hive"


def test_nix_run_brings_what_its_containers_have_for_usr(nix: Nix, source: Path) -> None:
    """NixOS has nothing in /usr."""
    shown = f"path:/src#packages.{SYSTEMS[0]}.hive.script"
    binds = {source: "/src", STUB: "/stub"}
    done = nix.run("nix", "eval", "--json", *OVERRIDES, shown, binds=binds)
    assert done.returncode == 0, done.stderr
    script = json.loads(done.stdout)
    assert re.search(r"--set-default HIVE_USR /nix/store/\S+-hive-userland", script)


def test_the_vm_has_in_its_store_what_a_new_swarm_asks_for() -> None:
    made = first_files(FirstCommit())["agents/hm1nd/agent.nix"]
    for file in (REPOSITORY / "tests/nix/swarm/agents").glob("*/agent.nix"):
        assert file.read_text() == made


def test_declared_systems_say_what_they_were_made_of(nix: Nix, source: Path) -> None:
    expression = (
        "import /src/modules/declared.nix { lib = import /stub/nixpkgs/lib;"
        ' src = /src/templates/swarm; systems.hm1nd.config = { system.build.toplevel = "/x";'
        ' services.hive-agent = { name = "hm1nd"; role = "manager"; engine = "rehearsal"; }; }; }'
    )
    done = nix.run(
        *("nix-instantiate", "--eval", "--strict", "--json", "-E", expression),
        binds={source: "/src", STUB: "/stub"},
    )
    assert done.returncode == 0, done.stderr
    swarm = REPOSITORY / "templates/swarm"
    nix_file = "agents/hm1nd/agent.nix"
    assert json.loads(done.stdout)["hm1nd"] == {
        "engine": "rehearsal",
        "role": "manager",
        "system": "/x",
        "files": {nix_file: hashlib.sha256((swarm / nix_file).read_bytes()).hexdigest()},
    }
