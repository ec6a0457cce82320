"""Finding the cgroup trees of machines that are not this one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_reconciler.runtime.cgroups import Groups
from hive_reconciler.runtime.hierarchies import Tree, trees


def _line(mount: Path, kind: str, options: str, device: str) -> str:
    where = str(mount).replace(" ", "\\040")
    return f"30 24 0:{device} / {where} rw,nosuid shared:4 - {kind} cgroup rw,{options}"


def test_a_unified_machine(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    found = trees(_line(tmp_path, "cgroup2", "nsdelegate", "26"), "0::/\n", root=True)
    assert found == (Tree(tmp_path, 2, frozenset({"memory", "pids", "cpu"})),)


def test_a_hybrid_machine_with_spaces_and_double_mounts(tmp_path: Path) -> None:
    places = {name: tmp_path / f"a {name}" for name in ("memory", "cpu", "systemd", "net", "v2")}
    for place in places.values():
        place.mkdir()
    (places["v2"] / "cgroup.controllers").write_text("\n")
    info = "\n".join(
        [
            _line(places["memory"], "cgroup", "memory", "31"),
            _line(tmp_path / "again", "cgroup", "memory", "31"),
            _line(places["cpu"], "cgroup", "cpu,cpuacct", "32"),
            _line(places["systemd"], "cgroup", "xattr,name=systemd", "33"),
            _line(places["net"], "cgroup", "net_cls", "34"),
            _line(places["v2"], "cgroup2", "", "35"),
            "31 24 8:1 / /boot rw - ext4 /dev/sda1 rw",
        ]
    )
    assert trees(info, "", root=True) == (
        Tree(places["memory"], 1, frozenset({"memory"})),
        Tree(places["cpu"], 1, frozenset({"cpu"})),
        Tree(places["systemd"], 1, frozenset()),
        Tree(places["v2"], 2, frozenset()),
    )
    assert [tree.version for tree in trees(info, "0::/\n", root=False)] == []


def test_a_user_gets_what_was_delegated(tmp_path: Path) -> None:
    service = tmp_path / "user.slice" / "user@1000.service"
    own = service / "app.slice" / "run-1.scope"
    own.mkdir(parents=True)
    for path in (own, own.parent, service):
        (path / "cgroup.procs").touch()
        (path / "cgroup.controllers").write_text("memory pids\n")
    info = _line(tmp_path, "cgroup2", "", "26")
    where = "0::/user.slice/user@1000.service/app.slice/run-1.scope\n"
    assert trees(info, where, root=False) == (Tree(service, 2, frozenset({"memory", "pids"})),)
    assert trees(info, "4:memory:/x\n", root=False) == ()


@given(st.text(max_size=200), st.text(max_size=60), st.booleans())
def test_no_text_breaks_it(info: str, own: str, root: bool) -> None:
    trees(info, own, root=root)


def test_a_v2_group_is_limited_and_lists_what_nothing_holds(tmp_path: Path) -> None:
    """A directory in the place of the kernel's: files that are there are written."""
    groups = Groups("-t", (Tree(tmp_path, 2, frozenset({"memory", "pids", "cpu"})),))
    group = groups.group("h-x")
    group.make()
    path = tmp_path / "hive-t" / "h-x"
    for name in ("memory.max", "memory.swap.max", "pids.max"):
        (path / name).touch()
    group.limit(100 << 20, 0.25, 30)
    assert (path / "memory.max").read_text() == str(100 << 20)
    assert (path / "memory.swap.max").read_text() == "0"
    assert (path / "pids.max").read_text() == "30"
    assert group.unenforced() == ("cpus",)  # listed, but not enabled by the one above
    (path / "cpu.max").touch()
    group.limit(100 << 20, 0.25, 30)
    assert (path / "cpu.max").read_text() == "25000 100000"
    assert group.unenforced() == ()
    assert groups.names() == {"h-x"}


@pytest.mark.root
def test_a_real_group_is_made_and_removed() -> None:
    groups = Groups(f"-test{os.getpid()}")
    group = groups.group("h-x")
    group.make()
    try:
        assert groups.names() == {"h-x"}
        group.limit(64 << 20, 0.001, 16)
        assert group.pids() == frozenset()
        assert group.tasks() in (0, None)
    finally:
        assert group.remove()
        groups.tidy()
    assert groups.names() == frozenset()
