from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.needs import lacking
from support.nix_env import Nix, NixUnavailable, unpacked_tree

REPOSITORY = Path(__file__).resolve().parents[2]


def repository_files() -> list[str]:
    """What a checkout has: tracked files, and new ones that are not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(f for f in listed.stdout.split("\0") if f and (REPOSITORY / f).is_file())


@pytest.fixture(scope="session")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Nix:
    try:
        return Nix(unpacked_tree(), tmp_path_factory.mktemp("nix"))
    except NixUnavailable as problem:
        lacking(str(problem))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, as a clone would have it."""
    copy = tmp_path_factory.mktemp("source")
    for name in repository_files():
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, target)
    return copy


@pytest.fixture(scope="session")
def libraries() -> dict[str, Path | None]:
    """The stand-in for nixpkgs' lib, and the real one that HIVE_NIXPKGS_LIB names."""
    real = os.environ.get("HIVE_NIXPKGS_LIB")
    return {"stand-in": None, **({"real": Path(real).resolve()} if real else {})}
