"""The wheels of pkgs/python: those of the lock, and nixpkgs has what they ask for."""

from __future__ import annotations

import base64
import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.nix_env import Nix

REPOSITORY = Path(__file__).resolve().parents[2]
STUB = REPOSITORY / "tests/nix/stub"
FILES = sorted(
    file for file in (REPOSITORY / "pkgs/python").glob("*.nix") if "fetchPypi" in file.read_text()
)
NAMES = [file.stem for file in FILES]
NIXPKGS = {"python_version": "3.13", "python_full_version": "3.13.0", "extra": ""}
EXPRESSION = """
let
  lib = import /stub/nixpkgs/lib;
  pkgs = import /stub/nixpkgs/packages.nix { inherit lib; system = "x86_64-linux"; };
  hive = import /src/pkgs { inherit lib pkgs; };
  one = name:
    let package = hive.python.pkgs.${name}; in {
      relaxed = package.pythonRelaxDeps or [ ];
      dependencies = lib.listToAttrs
        (map (p: lib.nameValuePair p.pname p.version) package.dependencies);
    };
in
lib.genAttrs NAMES one
"""


@pytest.fixture(scope="module")
def packaged(nix: Nix, source: Path) -> Any:
    """By wheel: `relaxed`, and `dependencies` with the versions that nixpkgs has."""
    names = f"[ {' '.join(json.dumps(name) for name in NAMES)} ]"
    done = nix.run(
        *("nix-instantiate", "--eval", "--strict", "--json", "-E"),
        EXPRESSION.replace("NAMES", names),
        binds={source: "/src", STUB: "/stub"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_it_is_that_of_the_lock(file: Path) -> None:
    lock = (REPOSITORY / "requirements.lock").read_text()
    text = file.read_text()
    (name,) = re.findall(r'^  pname = "(.*)";', text, re.MULTILINE)
    (version,) = re.findall(r'^  version = "(.*)";', text, re.MULTILINE)
    (digest,) = re.findall(r'hash = "sha256-(.*)";', text)
    pinned = re.search(rf"^{name}=={re.escape(version)} .*?(?=^\S)", lock, re.MULTILINE | re.DOTALL)
    assert pinned, f"requirements.lock has no {name}=={version}"
    assert base64.b64decode(digest).hex() in pinned[0], "another hash"


@pytest.mark.parametrize("name", NAMES)
def test_nixpkgs_has_what_it_asks_for(packaged: Any, name: str) -> None:
    """As nixpkgs' own check at the end of a build does, with the newest that there can be."""
    there, relaxed = packaged[name]["dependencies"], set(packaged[name]["relaxed"])
    asked = [Requirement(text) for text in metadata.requires(name) or ()]
    wanted = {
        canonicalize_name(one.name): one.specifier
        for one in asked
        if one.marker is None or one.marker.evaluate(NIXPKGS)
    }
    assert set(there) == set(wanted)
    lacking = {key for key, specifier in wanted.items() if there[key] not in specifier}
    assert lacking == relaxed, {key: f"{there[key]}, {wanted[key]} asked" for key in lacking}
