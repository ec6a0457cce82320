"""How the reconciler comes to the nixos runtime, and what it hands to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hive_reconciler.core import containers, toolchain
from hive_reconciler.model.desired import Desired, Invalid, Valid
from hive_reconciler.runtime.nixos_host import Places
from hive_wire.hivetoml import HiveToml
from hive_wire.paths import Layout
from hive_wire.spec import AgentSpec

VALID = Valid(AgentSpec(uid="a" * 12), "", "r1", "t1")
HIVE = HiveToml.model_validate({"schema": 1})
DESIRED = Desired("0" * 40, HIVE, {"scout": VALID})


def test_an_older_spec_is_not_built_from_the_newer_commit(tmp_path: Path) -> None:
    broken = Desired("1" * 40, HIVE, {"scout": Invalid((), "t2")})
    layout = Layout(tmp_path, tmp_path, "-1")
    assert containers.build(layout, broken, "scout", VALID, toolchain.of_nixos()).commit is None


def test_another_hyperhive_needs_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for flake in ("path:/nix/store/a-source", "path:/nix/store/b-source"):
        monkeypatch.setenv("HIVE_FLAKE", flake)
        made = containers.build(
            Layout(tmp_path, tmp_path, "-1"),
            DESIRED,
            "scout",
            VALID,
            toolchain.of_nixos(),
        )
        assert made.commit == "0" * 40
        assert {str(bind.target) for bind in made.binds} == {"/run/hive", "/state", "/root/.claude"}
        keys.add(made.restart_key)
    assert len(keys) == 2


def test_an_old_host_has_its_containers_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """NixOS before 22.05 called the directories otherwise, and keeps that for its old hosts."""
    monkeypatch.delenv("HIVE_CONTAINERS", raising=False)
    assert Places.of_host() == Places()
    monkeypatch.setenv("HIVE_CONTAINERS", "containers")
    old = Places.of_host()
    assert (str(old.confs), str(old.roots)) == ("/etc/containers", "/var/lib/containers")
