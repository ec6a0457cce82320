"""What an agent, or a reconciler killed between two steps, leaves on a NixOS host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.nixos_rig import Rig

pytestmark = pytest.mark.slow


def _nest(folder: Path, depth: int) -> None:
    """Deeper than recursion, a path, or one open directory for each level can go."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


async def test_an_endless_nest_of_directories_is_destroyed(rig: Rig) -> None:
    await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "one")))
    root = rig.places.roots / "h-a-1"
    _nest(root, 5000)
    (root / "closed").mkdir(mode=0)
    await rig.runtime.stop("h-a", 5)
    await rig.runtime.destroy("h-a")
    assert list(rig.places.roots.iterdir()) == []
    assert await rig.runtime.observe() == ()


async def test_what_a_killed_reconciler_was_building_goes_with_the_next(rig: Rig) -> None:
    await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "one")))
    builds = rig.layout.root / "builds"
    for name in ("tmpabcd", "eval-abcd"):
        (builds / name / "source").mkdir(parents=True)
        (builds / name / "result").symlink_to("/nix/store/" + "a" * 32 + "-x")  # holds it in nix
    rig.runtime = rig.open()
    rig.runtime.adopt(lambda _: None)
    await rig.runtime.close()
    assert list(builds.iterdir()) == []
    assert (await rig.seen("a")).revision == "r1"


async def test_roots_of_what_was_never_started_go_too(rig: Rig) -> None:
    await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "one")))
    await rig.runtime.prepare(rig.container("b", "r1", rig.commit("b", "two")))
    other = rig.places.gcroots / "h-b-2-next"
    other.symlink_to("/nix/store/other")
    assert (rig.places.gcroots / "h-b-1-next").is_symlink()
    rig.runtime = rig.open()
    rig.runtime.adopt(lambda _: None)
    await rig.runtime.close()
    left = sorted(link.name for link in rig.places.gcroots.iterdir())
    assert left == ["h-a-1-next", "h-a-1-running", "h-b-2-next"]
