"""What an agent, or a reconciler killed between two steps, leaves on a NixOS host."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.nixos_rig import Rig

from hive_reconciler.runtime.nixos_host import Places
from hive_wire.paths import SYSTEM_ROOT

pytestmark = pytest.mark.slow


TREE = Path(__file__).resolve().parents[2]
REAL_PLACES = TREE / "modules/real-places.sh"
# What NixOS does with a container's file system as root of the host.
START = """
mkdir -p etc var/lib var/lib/private root; chmod 0755 etc var/lib; chmod 0700 var/lib/private root
[ -e etc/machine-id ] || touch etc/machine-id
"""


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


async def test_nobody_but_root_enters_what_agents_write(rig: Rig) -> None:
    rig.places.roots.mkdir(exist_ok=True)
    rig.places.roots.chmod(0o755)
    await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "one")))
    assert rig.places.roots.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", ["etc", "etc/machine-id", "root", "var", "var/lib/private"])
def test_nixos_starts_a_container_whose_places_are_links(tmp_path: Path, place: str) -> None:
    root, host = tmp_path / "root", tmp_path / "host"
    (root / place).parent.mkdir(parents=True)
    (host / "lib").mkdir(parents=True)
    for folder in (host, host / "lib"):
        folder.chmod(0o711)
    lead = host / "made" if place == "etc/machine-id" else host
    (root / place).symlink_to(lead)
    run = ("bash", REAL_PLACES, root)
    subprocess.run(run, env={"PATH": os.environ["PATH"]}, check=True)
    assert (root / place).is_symlink(), "of containers that are not ours nothing is changed"
    subprocess.run(run, env={"PATH": os.environ["PATH"], "HIVE_UID": "x"}, check=True)
    subprocess.run(["bash", "-ec", START], cwd=root, check=True)
    assert [path.name for path in host.iterdir()] == ["lib"]
    assert [path.stat().st_mode & 0o777 for path in (host, host / "lib")] == [0o711, 0o711]


def test_the_page_removes_all_that_a_swarm_leaves_and_nothing_else(tmp_path: Path) -> None:
    page = (TREE / "docs/nixos.md").read_text().splitlines()
    (told,) = [line for line in page if line.startswith("- **Uninstall.**")]
    places = Places()
    ours = [SYSTEM_ROOT / "hive.git", places.gcroots / "hm1nd-running"]
    theirs = []
    for name, found in (("hm1nd", ours), ("h-scout", ours), ("postgres", theirs)):
        found += [places.roots / name, places.confs / f"{name}.conf", *places.per_container(name)]
    for path in (*ours, *theirs):
        made = tmp_path / path.relative_to("/")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch() if path.suffix == ".conf" else made.mkdir()
    for command in re.findall(r"`(rm [^`]+)`", told):
        subprocess.run(["bash", "-ec", command.replace(" /", f" {tmp_path}/")], check=True)
    left = {Path("/") / p.relative_to(tmp_path) for p in tmp_path.rglob("*")}
    assert left & set(ours) == set()
    assert set(theirs) <= left
