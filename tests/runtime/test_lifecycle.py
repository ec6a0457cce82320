"""Start, look, update, stop, destroy: with the runtime that this user gets."""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import replace
from pathlib import Path

import pytest
from support.containers import AS_ROOT, DEAF, GO, UID, WAITS, Site, dead, until

from hive_reconciler.runtime.base import Bind, Phase, RuntimeFailure
from hive_reconciler.runtime.cgroups import Groups


async def test_a_container_runs_says_what_it_is_and_stops(site: Site) -> None:
    await site.runtime.start(site.container())
    seen = await site.one()
    assert (seen.phase, seen.uid, seen.revision, seen.restart_key) == (
        Phase.RUNNING,
        UID,
        "r1",
        "k1",
    )
    assert seen.exit_status is None
    assert seen.started is not None
    await site.printed("up")
    await site.runtime.stop("h-x", 10)
    seen = await site.one()
    assert (seen.phase, seen.revision, seen.exit_status) == (Phase.STOPPED, None, None)
    assert "bye" in await site.runtime.logs("h-x", 10)  # it heard TERM and had its time


async def test_what_is_inside(site: Site) -> None:
    script = GO + (
        'echo "$GREETING from $(hostname) as $(id -u) in $PWD"; tr "\\0" " " </proc/1/cmdline; echo;'
        "echo kept >/state/file; echo c >/root/.claude/file; touch /var/tmp/x /tmp/x; awk 'BEGIN"
        ' {print "awk"}\'; [ -e /hive ] || echo no-hive; exit 0'
    )
    await site.runtime.start(site.container(script))
    site.go()
    seen = await site.until_phase(Phase.STOPPED)
    said = "\n".join(await site.runtime.logs("h-x", 100))
    assert "hello there from h-x as 0 in /state" in said
    assert "/bin/sh -c" in said
    assert "awk" in said.splitlines()
    assert "no-hive" in said
    assert seen.exit_status == 0
    kept = site.state() / "file"
    assert kept.read_text() == "kept\n"
    assert kept.stat().st_uid == os.geteuid()


async def test_the_manager_has_its_links(site: Site) -> None:
    script = GO + "mkdir -p /state/hive/agents/x; ls -d /agents/x; readlink /agents /hive; exit 0"
    await site.runtime.start(replace(site.container(script, "hm1nd"), role="manager"))
    site.go()
    await site.until_phase(Phase.STOPPED, "hm1nd")
    said = await site.runtime.logs("hm1nd", 10)
    assert {"/agents/x", "hive/agents", "state/hive"} <= set(said)


async def test_its_own_end_is_told_with_its_status(site: Site) -> None:
    changed: asyncio.Queue[str] = asyncio.Queue()
    site.runtime.adopt(changed.put_nowait)
    await site.runtime.start(site.container(GO + "exit 42"))
    site.go()
    async with asyncio.timeout(10):
        assert await changed.get() == "h-x"
    assert (await site.until_phase(Phase.STOPPED)).exit_status == 42


async def test_starting_again(site: Site) -> None:
    container = site.container()
    await site.runtime.start(container)
    before = await site.processes()
    await site.runtime.start(container)
    assert await site.processes() == before
    with pytest.raises(RuntimeFailure, match="runs already") as failure:
        await site.runtime.start(replace(container, revision="r2"))
    assert failure.value.reason == "AlreadyRunning"
    await site.runtime.stop("h-x", 5)
    await site.runtime.start(replace(container, revision="r2"))
    assert (await site.one()).revision == "r2"


async def test_never_two_of_one_name(site: Site) -> None:
    other = site.fresh_runtime()
    container = site.container(f": {secrets.token_hex(8)}; {WAITS}")
    results = await asyncio.gather(
        *(runtime.start(container) for runtime in (site.runtime, other) * 4),
        return_exceptions=True,
    )
    assert any(result is None for result in results)
    assert {r.reason for r in results if isinstance(r, RuntimeFailure)} <= {"AlreadyRunning"}
    assert len(set(_namespaces(container.argv))) == 1  # a shell that forks shows twice


async def test_an_update_in_place(site: Site) -> None:
    container = site.container()
    await site.runtime.start(container)
    before = await site.processes()
    await site.runtime.update(replace(container, revision="r2", memory=300 << 20))
    assert (await site.one()).revision == "r2"
    assert await site.processes() == before
    assert {seen.revision for seen in await site.fresh_runtime().observe()} == {"r2"}
    with pytest.raises(RuntimeFailure) as failure:
        await site.runtime.update(replace(container, revision="r3", restart_key="k2"))
    assert failure.value.reason == "NeedsRestart"
    await site.runtime.stop("h-x", 5)
    with pytest.raises(RuntimeFailure) as failure:
        await site.runtime.update(container)
    assert failure.value.reason == "NotRunning"


async def test_a_payload_deaf_to_term_is_killed(site: Site) -> None:
    await site.runtime.start(site.container(DEAF))
    await site.printed("up")
    inside = (await site.processes())[2]
    async with asyncio.timeout(8):
        await site.runtime.stop("h-x", 0.3)
    assert dead(inside)
    assert await site.phase() is Phase.STOPPED


async def test_no_child_survives_its_container(site: Site) -> None:
    mark = secrets.token_hex(8)
    orphan = ("sh", "-c", f"trap '' TERM; : {mark}; while :; do sleep 1; done")
    script = f'for i in 1 2 3; do setsid sh -c "{orphan[2]}" & done; {WAITS}'
    await site.runtime.start(site.container(script))
    await site.printed("up")
    await until(lambda: _count(orphan) == 3)
    await site.runtime.stop("h-x", 5)
    assert _count(orphan) == 0


def _count(argv: tuple[str, ...]) -> int:
    """Processes with exactly these arguments, anywhere on the machine."""
    return len(_namespaces(argv))


def _namespaces(argv: tuple[str, ...]) -> list[str]:
    """The pid namespace of each such process."""
    command = "\0".join(argv) + "\0"
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(f"/proc/{pid}/cmdline").read_text(errors="replace") == command:
                found.append(os.readlink(f"/proc/{pid}/ns/pid"))
        except OSError:
            continue
    return found


async def test_a_program_that_is_not_there(site: Site) -> None:
    with pytest.raises(RuntimeFailure, match="/no/such/program") as failure:
        await site.runtime.start(replace(site.container(), argv=("/no/such/program",)))
    assert failure.value.reason == "StartFailed"
    assert await site.phase() is Phase.STOPPED
    await site.runtime.start(site.container())


async def test_a_bind_that_is_not_there(site: Site) -> None:
    gone = Bind(site.layout.root / "gone", Path("/opt/gone"))
    container = site.container()
    with pytest.raises(RuntimeFailure, match="gone") as failure:
        await site.runtime.start(replace(container, binds=(*container.binds, gone)))
    assert failure.value.reason == "BindMissing"
    assert not failure.value.permanent


@pytest.mark.skipif(AS_ROOT, reason="nspawn has every network")
async def test_a_network_that_it_cannot_give(site: Site) -> None:
    for mode in ("private", "host"):
        with pytest.raises(RuntimeFailure) as failure:
            await site.runtime.start(replace(site.container(), network=mode))
        assert failure.value.reason == "UnsupportedNetwork"
        assert failure.value.permanent


async def test_destroy_removes_the_container_and_keeps_the_agent(site: Site) -> None:
    await site.runtime.start(site.container("echo data >/state/x; mkdir -p /var/a/b;" + WAITS))
    await site.printed("up")
    await site.runtime.destroy("h-x")
    assert await site.runtime.observe() == ()
    assert (site.state() / "x").read_text() == "data\n"
    assert sorted(os.listdir(site.layout.agent(UID))) == ["claude", "state"]
    assert site.layout.agent_run(UID).is_dir()
    assert await asyncio.to_thread(Groups(site.layout.tag).names) == frozenset()
    await site.runtime.destroy("h-x")  # again: nothing to do


async def test_stopping_what_never_was(site: Site) -> None:
    await site.runtime.stop("h-never", 1)
    await site.runtime.destroy("h-never")
    assert await site.runtime.observe() == ()


async def test_the_log_is_bounded_and_raw(site: Site) -> None:
    script = (
        f"{GO} printf '\\033[31mred\\r\\a\\nno newline at the end'; "
        "head -c 5000000 /dev/zero | tr '\\0' 'x'; printf '\\nlast\\n'; exit 0"
    )
    await site.runtime.start(site.container(script))
    site.go()
    await site.until_phase(Phase.STOPPED)
    sizes = [path.stat().st_size for path in site.layout.logs.iterdir()]
    assert len(sizes) == 2
    assert sum(sizes) <= 2_200_000
    assert "last" in await site.runtime.logs("h-x", 2)
    await site.runtime.start(site.container(GO + "printf '\\033]0;title\\007\\n'; exit 0"))
    site.go()
    await site.until_phase(Phase.STOPPED)
    lines = await site.runtime.logs("h-x", 50)
    assert "\x1b]0;title\x07" in lines
    assert all(len(line) <= 4001 for line in lines)
    assert await site.runtime.logs("h-x", 0) == ()


async def test_two_roots_side_by_side(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    try:
        await asyncio.gather(
            site.runtime.start(site.container()), other.runtime.start(other.container())
        )
        assert await site.processes() != await other.processes()
        await site.runtime.destroy("h-x")
        assert await other.phase() is Phase.RUNNING
    finally:
        await other.close()


@pytest.mark.slow
async def test_twenty_at_once(site: Site) -> None:
    containers = [
        site.container(name=f"h-a{number}", uid=f"abcdefghij{number:02}") for number in range(20)
    ]
    await asyncio.gather(*(site.runtime.start(container) for container in containers))
    seen = await site.runtime.observe()
    assert [one.phase for one in seen] == [Phase.RUNNING] * 20
    await asyncio.gather(*(site.runtime.stop(c.name, 10) for c in containers))
    assert {one.phase for one in await site.runtime.observe()} == {Phase.STOPPED}


async def test_every_change_is_told(site: Site) -> None:
    changed: list[str] = []
    await site.runtime.start(site.container(name="h-a", uid="abcdefghij01"))
    site.runtime.adopt(changed.append)
    await site.runtime.start(site.container(name="h-b", uid="abcdefghij02"))
    for name in ("h-a", "h-b"):
        os.kill((await site.processes(name))[2], 9)
    await until(lambda: {"h-a", "h-b"} <= set(changed))
    await site.runtime.close()


async def test_doctor_finds_this_machine_fit(site: Site) -> None:
    findings = await site.runtime.doctor()
    trial = next(finding for finding in findings if finding.what.startswith("a container"))
    assert trial.ok, trial.detail
    assert all(finding.cure for finding in findings if not finding.ok)
    assert not list(site.layout.root.glob("doctor-*"))
