"""Hosts whose own configuration builds the agents' systems: they are taken, never built."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.nixos_rig import Rig

from hive_reconciler.runtime.base import Container, Phase, RuntimeFailure
from hive_reconciler.runtime.nixos import NixosRuntime
from hive_reconciler.runtime.nixos_declared import Declared

SYSTEMS = tuple(f"/nix/store/{letter * 32}-nixos-system-h-a" for letter in "bcd")
TOML = 'engine = "rehearsal"\n'


class Host:
    """A rig whose host is rebuilt by `rebuild`, which restarts the reconciler."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        (rig.work / "hive.toml").write_text("schema = 1\n")
        (rig.work / "agents/a").mkdir(parents=True)
        (rig.work / "agents/a/agent.toml").write_text(TOML)
        self.file = rig.host / "systems.json"

    async def rebuild(self, system: str, **more: Any) -> None:
        made_of = {"agents/a/agent.nix": self.digest("agents/a/agent.nix")}
        entry = {"system": system, "engine": "rehearsal", "role": "agent", "files": made_of}
        self.file.write_text(json.dumps({"h-a": {**entry, **more}}))
        declared = await asyncio.to_thread(Declared, self.rig.repository, self.file)
        self.rig.runtime = NixosRuntime(self.rig.layout, declared, self.rig.places)

    def digest(self, path: str) -> str:
        return hashlib.sha256((self.rig.work / path).read_bytes()).hexdigest()

    def container(self, revision: str, commit: str) -> Container:
        return self.rig.container("a", revision, commit)


@pytest.fixture
def host(rig: Rig) -> Host:
    return Host(rig)


async def test_it_runs_what_the_host_has_and_follows_it(rig: Rig, host: Host) -> None:
    commit = rig.commit("a", "one")
    await host.rebuild(SYSTEMS[0])
    await rig.runtime.start(host.container("r1", commit))
    assert (await rig.seen("a")).revision == "r1"
    assert rig.unit("a")["started_with"] == SYSTEMS[0]
    pid = rig.unit("a")["pid"]

    await host.rebuild(SYSTEMS[1])  # the same commit with another nixpkgs
    seen = await rig.seen("a")
    assert (seen.phase, seen.revision) == (Phase.RUNNING, None), "known as no longer current"
    await rig.runtime.update(host.container("r1", commit))
    assert (await rig.seen("a")).revision == "r1"
    assert (rig.unit("a")["started_with"], rig.unit("a")["pid"]) == (SYSTEMS[1], pid), "in place"

    await rig.runtime.stop("h-a", 5)
    await host.rebuild(SYSTEMS[2])
    await rig.runtime.start(host.container("r1", commit))
    assert rig.unit("a")["started_with"] == SYSTEMS[2]
    assert [call for call in rig.state["calls"] if call[0] == "nix"] == [], "nothing is built"


async def test_what_was_approved_waits_for_the_rebuild(rig: Rig, host: Host) -> None:
    first = rig.commit("a", "one")
    await host.rebuild(SYSTEMS[0])
    await rig.runtime.start(host.container("r1", first))
    second = rig.commit("a", "two")
    with pytest.raises(RuntimeFailure, match=r"agents/a/agent.nix is another; .*rebuild") as late:
        await rig.runtime.update(host.container("r2", second))
    assert late.value.reason == "HostNotRebuilt"
    assert not late.value.permanent
    assert (await rig.seen("a")).revision == "r1", "goes on with what it has"
    await host.rebuild(SYSTEMS[1])
    await rig.runtime.update(host.container("r2", second))
    assert (await rig.seen("a")).revision == "r2"


async def test_what_the_host_was_made_from_must_be_what_was_approved(rig: Rig, host: Host) -> None:
    commit = rig.commit("a", "one")
    good = {"agents/a/agent.nix": host.digest("agents/a/agent.nix")}
    for more, words in (
        ({"engine": "claude"}, "engine is claude there and rehearsal here"),
        ({"role": "manager"}, "role is manager there"),
        ({"files": {}}, "agents/a/agent.nix is another"),
        ({"files": {**good, "modules/x.nix": "0"}}, "modules/x.nix is there and not here"),
    ):
        await host.rebuild(SYSTEMS[0], **more)
        with pytest.raises(RuntimeFailure, match=words):
            await rig.runtime.start(host.container("r1", commit))
    assert await rig.runtime.observe() == ()


async def test_an_agent_that_the_host_does_not_know(rig: Rig, host: Host) -> None:
    commit = rig.commit("b", "one")
    (rig.work / "agents/a/agent.nix").write_text("one")
    await host.rebuild(SYSTEMS[0])
    with pytest.raises(RuntimeFailure, match="no system for h-b") as failed:
        await rig.runtime.start(rig.container("b", "r1", commit))
    assert failed.value.reason == "NotBuilt"


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    for content in ("", "[]", '{"h-a": {"system": "/x"}}'):
        (tmp_path / "systems.json").write_text(content)
        with pytest.raises(RuntimeFailure, match="cannot be used"):
            Declared(tmp_path, tmp_path / "systems.json")
