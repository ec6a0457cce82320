"""A swarm made by `nix flake init`, with the commands of docs/nixos.md."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from support.nix_env import Nix

from hive_reconciler.model.glue import glue_problems
from hive_wire.parse import parse_agent, parse_hive

REPOSITORY = Path(__file__).resolve().parents[2]
STUB = REPOSITORY / "tests/nix/stub"
HYPERHIVE = "git+https://your.forge/hyperhive"
NO_REGISTRY = ("--option", "flake-registry", "")
STAND_INS = (
    *("--override-input", "hyperhive/nixpkgs", "path:/stub/nixpkgs"),
    *("--override-input", "hyperhive/treefmt-nix", "path:/stub/treefmt"),
)


def commands() -> list[list[str]]:
    page = (REPOSITORY / "docs/nixos.md").read_text()
    (block,) = re.findall(r"```\n(nix flake init -t .*?)```", page, re.DOTALL)
    return [shlex.split(line.replace(HYPERHIVE, "path:/src")) for line in block.splitlines()]


def test_it_locks_and_evaluates(nix: Nix, source: Path) -> None:
    swarm = nix.state / "home/swarm"
    swarm.mkdir(parents=True)
    said = ""
    for command in commands():
        more = STAND_INS if "lock" in command else ()
        done = nix.run(
            *command, *more, *NO_REGISTRY, binds={source: "/src", STUB: "/stub"}, cwd="/root/swarm"
        )
        assert done.returncode == 0, (command, done.stderr)
        said = done.stdout
    assert said.strip() == '"hm1nd"'
    flake, lock = ((swarm / name).read_bytes() for name in ("flake.nix", "flake.lock"))
    assert glue_problems(flake, lock) == []
    assert json.loads(lock)["nodes"]["root"]["inputs"] == {"hyperhive": "hyperhive"}


def test_hyperhive_reads_its_files() -> None:
    template = REPOSITORY / "templates/swarm"
    hive = parse_hive((template / "hive.toml").read_bytes())
    (file,) = template.glob("agents/*/agent.toml")
    spec = parse_agent(file.read_bytes(), str(file.relative_to(template)), hive.defaults)
    assert spec.role == "manager"
    assert (file.parent / spec.prompt).exists()
