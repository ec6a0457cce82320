"""What the programs' closures hold, as far as the Python packages say it."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.nix_env import Nix

REPOSITORY = Path(__file__).resolve().parents[2]
STUB = REPOSITORY / "tests/nix/stub"
STAND_INS = (
    *("--no-write-lock-file", "--override-input", "nixpkgs", "path:/stub/nixpkgs"),
    *("--override-input", "treefmt-nix", "path:/stub/treefmt"),
)


def requirements(name: str) -> Iterator[Requirement]:
    """Of a distribution of ours, or of one that is installed."""
    ours = REPOSITORY / name.removeprefix("hive-") / "pyproject.toml"
    if name.startswith("hive-") and ours.exists():
        project = tomllib.loads(ours.read_text())["project"]
        extras = project.get("optional-dependencies", {})
        yield from map(Requirement, project["dependencies"])
        for extra, wanted in extras.items():
            for one in wanted:
                yield Requirement(f'{one}; extra == "{extra}"')
    else:
        yield from map(Requirement, metadata.requires(name) or ())


def closure(name: str) -> set[str]:
    """All distributions that `name` needs on Linux, with the extras that are asked for."""
    seen: set[tuple[str, str]] = set()
    to_see = [(canonicalize_name(name), "")]
    while to_see:
        at = to_see.pop()
        if at in seen:
            continue
        seen.add(at)
        environment = {**default_environment(), "extra": at[1]}
        for one in requirements(at[0]):
            if one.marker is None or one.marker.evaluate(environment):
                wanted = canonicalize_name(one.name)
                to_see += [(wanted, ""), *((wanted, extra) for extra in one.extras)]
    return {name for name, _ in seen}


def test_no_program_has_what_it_must_not(nix: Nix, source: Path) -> None:
    done = nix.run(
        *("nix-instantiate", "--eval", "--strict", "--json", "/src/pkgs/closures.nix"),
        binds={source: "/src"},
    )
    assert done.returncode == 0, done.stderr
    forbidden = json.loads(done.stdout)
    assert set(forbidden) == {"broker", "dashboard", "gateway", "harness", "reconciler"}
    for program, names in forbidden.items():
        assert closure(f"hive-{program}") & set(names) == set(), program
    assert closure("hive-harness") == {"hive-harness", "hive-wire"}


def imported(file: Path) -> Iterator[str]:
    """Top-level modules that are neither Python's nor ours."""
    beside = {"support", *(other.stem for other in file.parent.glob("*.py"))}
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str | None] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        for name in names:
            module = (name or "").partition(".")[0]
            if module not in sys.stdlib_module_names | beside and not module.startswith("hive_"):
                yield module


@pytest.mark.slow
def test_the_unit_tests_find_what_they_import(nix: Nix, source: Path) -> None:
    """One module that is not there ends a whole run of pytest."""
    unit = "path:/src#checks.x86_64-linux.unit"
    shown = "u: { inherit (u) script; names = map (p: p.pname) (builtins.head u.inputs).chosen; }"
    done = nix.run(
        *("nix", "eval", "--json", *STAND_INS, unit, "--apply", shown),
        binds={source: "/src", STUB: "/stub"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    words = shlex.split(re.sub(r"\\\n", " ", found["script"]))
    ignored = {words[at + 1] for at, word in enumerate(words) if word == "--ignore"}
    there = {part for name in found["names"] for part in closure(name)}
    of_module = metadata.packages_distributions()
    for file in (REPOSITORY / "tests").rglob("*.py"):
        path = str(file.relative_to(REPOSITORY))
        if any(path == one or path.startswith(f"{one}/") for one in ignored):
            continue
        for module in imported(file):
            names = {canonicalize_name(name) for name in of_module.get(module, ())}
            assert names & there, f"{path} imports {module}"
