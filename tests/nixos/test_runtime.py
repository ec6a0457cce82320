"""The nixos runtime against a host of stand-in programs with the faults of real ones."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace

import pytest
from support import fake_nixos
from support.nixos_rig import Rig

from hive_reconciler.runtime.base import Phase, RuntimeFailure
from hive_reconciler.runtime.nixos import NixosRuntime
from hive_reconciler.runtime.nixos_build import Builder

pytestmark = pytest.mark.slow


async def test_start_update_stop_destroy(rig: Rig) -> None:
    first = rig.container("a", "r1", rig.commit("a", "one"))
    await rig.runtime.start(first)
    seen = await rig.seen("a")
    assert (seen.phase, seen.revision, seen.uid) == (Phase.RUNNING, "r1", first.uid)
    assert rig.unit("a")["properties"] == [
        "MemoryMax=1073741824",
        "MemorySwapMax=0",
        "TasksMax=64",
        "CPUQuota=50%",
    ]
    one = rig.unit("a")["started_with"]
    running = rig.places.gcroots / "h-a-1-running"
    assert os.readlink(running) == one

    pid = rig.unit("a")["pid"]
    await rig.runtime.update(rig.container("a", "r2", rig.commit("a", "two"), memory=1 << 31))
    assert (await rig.seen("a")).revision == "r2"
    assert rig.unit("a")["pid"] == pid, "in place"
    assert rig.unit("a")["started_with"] != one
    assert rig.unit("a")["properties"][0] == "MemoryMax=2147483648"
    assert os.readlink(running) == rig.unit("a")["started_with"]

    await rig.runtime.stop("h-a", 5)
    seen = await rig.seen("a")
    assert (seen.phase, seen.exit_status) == (Phase.STOPPED, None)
    with pytest.raises(RuntimeFailure, match="does not run"):
        await rig.runtime.update(first)
    await rig.runtime.destroy("h-a")
    assert await rig.runtime.observe() == ()
    assert list(rig.places.confs.iterdir()) == []
    assert list(rig.places.roots.iterdir()) == []
    assert list(rig.places.gcroots.iterdir()) == []
    await rig.runtime.destroy("h-a")


async def test_starting_again_builds_nothing(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    await rig.runtime.start(container)
    await rig.runtime.start(container)
    await rig.runtime.stop("h-a", 5)
    await rig.runtime.start(replace(container, commit=None))
    builds = [call for call in rig.state["calls"] if call[0] == "nix"]
    assert len(builds) == 1
    assert "hyperhive.lib.mkSwarm" in builds[0][2], "a repository without flake.nix gets the glue"


async def test_another_hyperhive_is_built_with_at_the_next_start(rig: Rig) -> None:
    commit = rig.commit("a", "one")
    await rig.runtime.start(rig.container("a", "r1", commit, restart_key="k1"))
    await rig.runtime.stop("h-a", 5)
    await rig.runtime.start(rig.container("a", "r1", commit, restart_key="k2"))
    assert len([call for call in rig.state["calls"] if call[0] == "nix"]) == 2


async def test_looking_needs_no_flake_and_building_does(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HIVE_FLAKE", raising=False)
    await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "one")))
    plain = NixosRuntime.of(rig.layout)
    assert plain.name == "nixos"
    rig.runtime = NixosRuntime(rig.layout, Builder(rig.repository, rig.work, ""), rig.places)
    assert (await rig.seen("a")).revision == "r1"
    with pytest.raises(RuntimeFailure, match="HIVE_FLAKE"):
        await rig.runtime.start(rig.container("b", "r1", rig.commit("b", "two")))
    await rig.runtime.stop("h-a", 5)


async def test_what_needs_a_restart_is_not_updated(rig: Rig) -> None:
    commit = rig.commit("a", "one")
    await rig.runtime.start(rig.container("a", "r1", commit))
    for change in ({"restart_key": "k2"}, {"network": "host"}, {"binds": ()}):
        with pytest.raises(RuntimeFailure) as refused:
            await rig.runtime.update(rig.container("a", "r2", commit, **change))
        assert refused.value.reason == "NeedsRestart"
    with pytest.raises(RuntimeFailure) as refused:
        await rig.runtime.start(rig.container("a", "r2", commit))
    assert refused.value.reason == "AlreadyRunning"


async def test_other_binds_under_the_same_key_lead_to_a_restart(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    fewer = replace(container, revision="r2", binds=())
    await rig.runtime.start(container)
    assert (await rig.seen("a")).restart_key == container.restart_key
    with pytest.raises(RuntimeFailure, match="by a restart only"):
        await rig.runtime.update(fewer)
    seen = await rig.seen("a")
    assert seen.restart_key not in (None, container.restart_key), "else it is updated for ever"
    assert (seen.phase, seen.revision) == (Phase.RUNNING, "r1")
    await rig.runtime.stop("h-a", 5)
    await rig.runtime.start(fewer)
    assert (await rig.seen("a")).restart_key == container.restart_key


async def test_what_an_older_hyperhive_started_less_closed_is_restarted(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    await rig.runtime.start(container)
    file = rig.places.confs / "h-a-1.conf"
    file.write_text(file.read_text().replace(" --link-journal=no", ""))
    seen = await rig.seen("a")
    assert seen.restart_key not in (None, container.restart_key)
    await rig.runtime.stop("h-a", 5)
    await rig.runtime.start(container)
    assert (await rig.seen("a")).restart_key == container.restart_key


async def test_a_failed_switch_goes_back(rig: Rig) -> None:
    await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "one")))
    before = rig.unit("a")["started_with"]
    rig.fault("switch-fails")
    with pytest.raises(RuntimeFailure, match="former system runs again") as failed:
        await rig.runtime.update(rig.container("a", "r2", rig.commit("a", "bad")))
    assert "unit hive-x.service failed" in failed.value.message
    assert rig.unit("a")["started_with"] == before
    assert (await rig.seen("a")).revision == "r1"
    await rig.runtime.update(rig.container("a", "r3", rig.commit("a", "good")))
    assert (await rig.seen("a")).revision == "r3"


async def test_a_switch_cut_off_in_the_middle_is_unknown_and_cured(rig: Rig) -> None:
    commit = rig.commit("a", "one")
    await rig.runtime.start(rig.container("a", "r1", commit))
    file = rig.places.confs / "h-a-1.conf"
    text = file.read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("SYSTEM_PATH=")]
    file.write_text(text.replace(line, line + "-next"))
    assert (await rig.seen("a")).revision is None
    await rig.runtime.update(rig.container("a", "r1", commit))
    assert (await rig.seen("a")).revision == "r1"
    assert ["systemctl", "reload", "container@h-a-1.service"] in rig.state["calls"]


async def test_a_failed_build_says_why_and_leaves_nothing(rig: Rig) -> None:
    with pytest.raises(RuntimeFailure, match=r"syntax error, unexpected end of file") as failed:
        await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "syntax error")))
    assert failed.value.reason == "BuildFailed"
    assert await rig.runtime.observe() == ()
    assert list((rig.layout.root / "builds").iterdir()) == []


async def test_an_unknown_commit_is_explained(rig: Rig) -> None:
    rig.commit("a", "one")
    with pytest.raises(RuntimeFailure, match="has no ffff"):
        await rig.runtime.start(rig.container("a", "r1", "f" * 40))


async def test_many_at_once_get_their_own_systems(rig: Rig) -> None:
    names = [f"x{n}" for n in range(6)]
    commits = [rig.commit(name, f"nix of {name}") for name in names]
    await asyncio.gather(*(rig.runtime.start(rig.container(n, "r", commits[-1])) for n in names))
    for name in names:
        assert rig.unit(name)["started_with"].endswith(f"-nixos-system-h-{name}")
    assert {o.phase for o in await rig.runtime.observe()} == {Phase.RUNNING}
    await asyncio.gather(*(rig.runtime.stop(f"h-{n}", 5) for n in names))


async def test_a_killed_supervisor_is_noticed_and_recovered(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    noticed = asyncio.Event()
    rig.runtime.adopt(lambda _: noticed.set())
    await rig.runtime.start(container)
    await rig.runtime.observe()
    rig.fault("stays-registered")
    os.kill(rig.unit("a")["pid"], 9)
    async with asyncio.timeout(5):
        await noticed.wait()
    seen = await rig.seen("a")
    assert (seen.phase, seen.exit_status) == (Phase.BROKEN, None)
    with pytest.raises(RuntimeFailure, match="stop it first"):
        await rig.runtime.start(container)
    await rig.runtime.stop("h-a", 1)
    rig.fault("stays-registered", on=False)
    await rig.runtime.start(container)
    assert (await rig.seen("a")).revision == "r1"


async def test_what_systemd_tries_again_and_again_is_ended_and_started(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    await rig.runtime.start(container)
    killed = rig.unit("a")["pid"]
    rig.fault("starts-again")
    os.kill(killed, 9)
    seen = await rig.seen("a")
    assert (seen.phase, seen.exit_status) == (Phase.STOPPED, 137)
    await rig.runtime.start(container)
    assert (await rig.seen("a")).phase is Phase.RUNNING
    assert rig.unit("a")["pid"] not in (0, killed)


async def test_what_is_destroyed_while_systemd_tries_it_again_keeps_no_name(rig: Rig) -> None:
    commit = rig.commit("a", "one")
    await rig.runtime.start(rig.container("a", "r1", commit))
    rig.fault("starts-again")
    os.kill(rig.unit("a")["pid"], 9)
    assert (await rig.seen("a")).phase is Phase.STOPPED
    await rig.runtime.destroy("h-a")
    assert (rig.unit("a")["active"], rig.state["machines"]) == ("inactive", [])
    await rig.runtime.start(rig.container("a", "r1", commit, uid="bbbbbbbbbbbb"))


async def test_a_used_up_start_limit_does_not_hold(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    await rig.runtime.start(container)
    await rig.runtime.stop("h-a", 5)
    state = rig.state
    state["units"]["container@h-a-1.service"].update(active="failed", failures=5)
    (rig.host / "state.json").write_text(json.dumps(state))
    await rig.runtime.start(container)
    assert (await rig.seen("a")).phase is Phase.RUNNING


async def test_a_leftover_exec_does_not_keep_the_name(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    await rig.runtime.start(container)
    rig.fault("leftover-exec")
    await rig.runtime.stop("h-a", 0.3)
    assert (await rig.seen("a")).phase is Phase.STOPPED
    rig.fault("leftover-exec", on=False)
    await rig.runtime.start(container)


async def test_a_missing_bind_is_told_before_the_start(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    (rig.layout.agent(container.uid) / "state").rmdir()
    with pytest.raises(RuntimeFailure, match="does not exist"):
        await rig.runtime.start(container)


async def test_a_name_used_again_inherits_nothing(rig: Rig) -> None:
    commit = rig.commit("a", "one")
    await rig.runtime.start(rig.container("a", "r1", commit))
    left = rig.places.roots / "h-a-1/etc/left"
    left.write_text("secret")
    await rig.runtime.stop("h-a", 5)
    await rig.runtime.start(rig.container("a", "r1", commit))
    assert left.exists(), "the same uid keeps its file system"
    await rig.runtime.stop("h-a", 5)
    await rig.runtime.start(rig.container("a", "r2", commit, uid="bbbbbbbbbbbb"))
    assert not left.exists()


async def test_other_peoples_containers_are_left_alone(rig: Rig) -> None:
    theirs = rig.places.confs / "h-a-1.conf"
    theirs.write_text("PRIVATE_NETWORK=1\n")
    with pytest.raises(RuntimeFailure, match="is not ours"):
        await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "one")))
    assert theirs.read_text() == "PRIVATE_NETWORK=1\n"
    assert await rig.runtime.observe() == ()


async def test_a_machine_without_a_conf_of_ours_is_somebody_elses(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    theirs = {**fake_nixos.EMPTY, "machines": ["h-a-1"]}  # as by systemd-nspawn@h-a-1.service
    (rig.host / "state.json").write_text(json.dumps(theirs))
    with pytest.raises(RuntimeFailure, match="machinectl terminate h-a-1") as refused:
        await rig.runtime.start(container)
    assert refused.value.reason == "NameTaken"
    assert rig.state["machines"] == ["h-a-1"]
    assert not list(rig.places.confs.iterdir())
    (rig.host / "state.json").write_text(json.dumps(fake_nixos.EMPTY))
    await rig.runtime.start(container)


async def test_a_machine_of_another_unit_outlives_an_agent_of_its_name(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    await rig.runtime.start(container)
    await rig.runtime.stop("h-a", 5)
    state = rig.state
    state.update(machines=["h-a-1"], theirs={"h-a-1": "systemd-nspawn@h-a-1.service"})
    (rig.host / "state.json").write_text(json.dumps(state))
    for end in (rig.runtime.stop, rig.runtime._units.end):
        with pytest.raises(RuntimeFailure, match="machinectl terminate h-a-1") as refused:
            await end("h-a", 5)
        assert refused.value.reason == "NameTaken"
    assert rig.state["machines"] == ["h-a-1"]


async def test_a_root_without_a_conf_of_ours_is_somebody_elses(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    theirs = rig.places.roots / "h-a-1" / "kept"
    theirs.mkdir(parents=True)
    with pytest.raises(RuntimeFailure, match=r"h-a-1 is not ours") as refused:
        await rig.runtime.start(container)
    assert refused.value.reason == "NameTaken"
    assert theirs.exists()
    theirs.parent.rename(rig.places.roots / "elsewhere")
    await rig.runtime.start(container)


async def test_a_failed_look_is_never_an_empty_one(rig: Rig) -> None:
    await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "one")))
    rig.fault("bus-is-away")
    with pytest.raises(RuntimeFailure, match="Failed to connect to bus"):
        await rig.runtime.observe()


async def test_limits_that_nothing_holds(rig: Rig) -> None:
    (rig.host / "controllers").write_text("cpu\n")
    commit = rig.commit("a", "one")
    with pytest.raises(RuntimeFailure, match="memory, tasks") as refused:
        await rig.runtime.start(rig.container("a", "r1", commit, limits_required=True))
    assert refused.value.permanent
    await rig.runtime.start(rig.container("a", "r1", commit))
    assert (await rig.seen("a")).unenforced == ("memory", "tasks")


@pytest.mark.parametrize(
    ("cpus", "quota"), [(1 / 3, "33.33%"), (1e-5, "1%"), (1024, "102400%"), (0.125, "12.5%")]
)
async def test_every_number_of_cores_is_one_that_systemd_reads(
    rig: Rig, cpus: float, quota: str
) -> None:
    await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "one"), cpus=cpus))
    assert f"CPUQuota={quota}" in rig.unit("a")["properties"]


async def test_a_new_process_goes_on_where_the_old_one_was(rig: Rig) -> None:
    container = rig.container("a", "r1", rig.commit("a", "one"))
    await rig.runtime.start(container)
    await rig.runtime.close()
    rig.runtime = rig.open()
    assert (await rig.seen("a")).revision == "r1"
    await rig.runtime.stop("h-a", 5)


async def test_logs_and_doctor(rig: Rig) -> None:
    await rig.runtime.start(rig.container("a", "r1", rig.commit("a", "one")))
    assert (await rig.runtime.logs("h-a", 1))[0].startswith("started /nix/store/")
    found = {finding.what: finding for finding in await rig.runtime.doctor()}
    assert found["container unit"].ok
    assert found["nix"].detail == "nix (fake) 2.31"
    assert not found["evaluation"].ok
    assert found["evaluation"].cure
    (rig.programs / "systemctl").unlink()
    found = {finding.what: finding for finding in await rig.runtime.doctor()}
    assert found["container unit"].cure or found["container unit"].ok
