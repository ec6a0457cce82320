"""What the programs' closures hold, as far as the Python packages say it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.nix_env import Nix

REPOSITORY = Path(__file__).resolve().parents[2]


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
