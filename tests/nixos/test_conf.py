from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_reconciler.runtime.base import Bind, Container, RuntimeFailure
from hive_reconciler.runtime.nixos_conf import Conf, conf_of, parse, render

SYSTEM = "/nix/store/00000000000000000000000000000000-nixos-system-h-scout-26.05"
ROOT = Path("/var/lib/hyperhive")
CONTAINER = Container(
    name="h-scout",
    uid="k3f9k3f9k3f9",
    agent="scout",
    role="agent",
    revision="r1",
    restart_key="k1",
    memory=1 << 30,
    cpus=1.0,
    tasks=64,
    limits_required=False,
    network="none",
    binds=(
        Bind(Path("/run/hyperhive/agents/k3f9k3f9k3f9"), Path("/run/hive")),
        Bind(ROOT / "agents/x/state", Path("/state"), read_only=False, idmap=True),
        Bind(Path("/usr"), Path("/usr")),
    ),
    environment=(),
    argv=("/usr/bin/true",),
    commit="0" * 40,
)
words = st.text("abcz09-_.:/@+=", min_size=1, max_size=30)


def test_the_conf_is_what_the_unit_of_nixos_reads() -> None:
    assert render(conf_of(CONTAINER, ROOT, SYSTEM)).splitlines() == [
        "# Written by hive-c0re; edits are overwritten.",
        "PRIVATE_USERS=pick",
        "PRIVATE_NETWORK=1",
        f"SYSTEM_PATH={SYSTEM}",
        'EXTRA_NSPAWN_FLAGS="--bind-ro=/run/hyperhive/agents/k3f9k3f9k3f9:/run/hive '
        "--bind=/var/lib/hyperhive/agents/x/state:/state:idmap "
        "--inaccessible=/nix/var/nix/daemon-socket --tmpfs=/nix/var/nix/profiles "
        '--tmpfs=/nix/var/nix/gcroots --link-journal=no"',
        "HIVE_UID=k3f9k3f9k3f9",
        "HIVE_CONTAINER=h-scout",
        "HIVE_ROOT=/var/lib/hyperhive",
        "HIVE_REVISION=r1",
        "HIVE_RESTART_KEY=k1",
        f"HIVE_SYSTEM={SYSTEM}",
    ]


@given(words, words, words, st.booleans(), st.lists(words.filter(lambda w: '"' not in w)))
def test_what_is_written_is_read(
    uid: str, revision: str, system: str, private: bool, flags: list[str]
) -> None:
    conf = Conf(uid, "h-a", "/r", revision, "k", system, SYSTEM, private, tuple(flags))
    assert parse(render(conf)) == conf


@given(st.text())
def test_any_other_file_is_not_ours(text: str) -> None:
    assert parse(text) is None


def test_a_switch_is_settled_only_at_its_end() -> None:
    conf = conf_of(CONTAINER, ROOT, SYSTEM)
    between = conf.switching_to(SYSTEM + "-2")
    assert conf.settled
    assert not between.settled
    assert between.revision == "r1"
    assert between.took("r2").settled
    assert between.took("r2").running == SYSTEM + "-2"


@pytest.mark.parametrize("source", ["/a b", "/a\nSYSTEM_PATH=/x", '/a"', "/a:b", "/$HOME", "/%i"])
def test_a_path_that_the_file_cannot_hold_is_refused(source: str) -> None:
    bad = replace(CONTAINER, binds=(Bind(Path(source), Path("/state")),))
    with pytest.raises(RuntimeFailure, match="no conf file can hold") as refused:
        conf_of(bad, ROOT, SYSTEM)
    assert refused.value.permanent


def test_only_nix_systems_and_known_networks() -> None:
    with pytest.raises(RuntimeFailure, match="no store path"):
        conf_of(CONTAINER, ROOT, "/nix/store/../../etc")
    with pytest.raises(RuntimeFailure, match="network"):
        conf_of(replace(CONTAINER, network="private"), ROOT, SYSTEM)
    host = conf_of(replace(CONTAINER, network="host"), ROOT, SYSTEM)
    assert "PRIVATE_NETWORK" not in render(host)
