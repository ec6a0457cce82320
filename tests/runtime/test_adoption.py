"""Containers outlive whoever started them, and a later process knows them again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.containers import AS_ROOT, GO, Site, dead, until

from hive_reconciler.runtime.base import Phase, RuntimeFailure

OWNER = Path(__file__).with_name("owner.py")


async def _start_and_kill_the_owner(site: Site) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, str(OWNER), str(site.layout.root), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"started\n"
    owner.kill()
    await owner.wait()


async def test_a_container_survives_kill_9_of_its_owner(site: Site) -> None:
    await _start_and_kill_the_owner(site)
    seen = await site.one()
    assert (seen.phase, seen.revision, seen.restart_key) == (Phase.RUNNING, "r1", "k1")
    (site.state() / "speak").touch()
    await site.printed("spoken")  # its console is still read
    changed: asyncio.Queue[str] = asyncio.Queue()
    site.runtime.adopt(changed.put_nowait)
    await site.runtime.start(site.container())  # known: nothing to do
    await site.runtime.update(replace(site.container(), revision="r2"))
    assert (await site.one()).revision == "r2"
    await site.runtime.stop("h-x", 10)
    assert "bye" in await site.runtime.logs("h-x", 10)
    async with asyncio.timeout(5):
        assert await changed.get() == "h-x"


async def test_its_end_is_known_though_nobody_watched(site: Site) -> None:
    await site.runtime.start(site.container(GO + "exit 9"))
    await site.runtime.close()
    site.go()
    seen = await site.until_phase(Phase.STOPPED)
    assert seen.exit_status == 9
    assert [one.exit_status for one in await site.fresh_runtime().observe()] == [9]


async def test_a_killed_supervisor_is_broken_and_stop_cures_it(site: Site) -> None:
    changed: list[str] = []
    site.runtime.adopt(changed.append)
    await site.runtime.start(site.container())
    _, supervisor, leader = await site.processes()
    os.kill(supervisor, signal.SIGKILL)
    await until(lambda: changed)
    if AS_ROOT:  # bubblewrap takes its container along
        seen = await site.until_phase(Phase.BROKEN)
        assert seen.revision is None
        assert not dead(leader)
        for revision in ("r1", "r2"):
            with pytest.raises(RuntimeFailure) as failure:
                await site.runtime.start(replace(site.container(), revision=revision))
            assert failure.value.reason == "AlreadyRunning"
    await site.runtime.stop("h-x", 5)
    assert dead(leader)
    assert await site.phase() is Phase.STOPPED
    await site.runtime.start(site.container())
    assert await site.phase() is Phase.RUNNING


async def test_a_killed_shim_ends_the_container_or_is_cured(site: Site) -> None:
    await site.runtime.start(site.container())
    shim, _, leader = await site.processes()
    os.kill(shim, signal.SIGKILL)
    await site.until_phase(Phase.STOPPED)
    assert dead(leader)
    await site.runtime.stop("h-x", 1)
    await site.runtime.start(site.container())


@pytest.mark.root
async def test_shim_and_supervisor_killed_at_once(site: Site) -> None:
    await site.runtime.start(site.container())
    shim, supervisor, leader = await site.processes()
    for pid in (supervisor, shim):
        os.kill(pid, signal.SIGKILL)
    await site.until_phase(Phase.BROKEN)
    with pytest.raises(RuntimeFailure, match="stop it first"):
        await site.runtime.start(site.container())
    await site.runtime.stop("h-x", 1)
    assert dead(leader)
    await site.runtime.start(site.container())
    assert await site.phase() is Phase.RUNNING


@pytest.fixture
def export(site: Site) -> Iterator[Path]:
    """Where nspawn 256 and newer mounts a place for sockets, and refuses to start if one is there.
    Its older ones know nothing of it."""
    folder = Path("/run/systemd/nspawn/unix-export") / site.layout.machine("h-x")
    yield folder
    subprocess.run(["umount", "--quiet", folder], capture_output=True, check=False)
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def _mount(folder: Path) -> None:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)


@pytest.mark.root
async def test_what_a_killed_supervisor_left_mounted_keeps_no_container_from_starting(
    site: Site, export: Path
) -> None:
    await asyncio.to_thread(_mount, export)  # all of it was killed: nobody stopped it
    await site.runtime.start(site.container())
    assert not export.exists()
    await asyncio.to_thread(_mount, export)
    _, supervisor, _ = await site.processes()
    os.kill(supervisor, signal.SIGKILL)
    await site.until_phase(Phase.BROKEN)
    await site.runtime.destroy("h-x")
    assert not export.exists()


@pytest.mark.root
async def test_a_lost_runtime_directory_hides_no_container(site: Site) -> None:
    await site.runtime.start(site.container())
    entry = site.layout.run / "containers" / "h-x"
    for file in entry.iterdir():
        file.unlink()
    entry.rmdir()
    seen = await site.one()
    assert (seen.phase, seen.uid) == (Phase.BROKEN, "")
    await site.runtime.stop("h-x", 1)
    await site.runtime.start(site.container())


async def test_a_record_of_another_run_is_not_believed(site: Site) -> None:
    await site.runtime.start(site.container())
    record = site.layout.run / "containers" / "h-x" / "record"
    forged = {**json.loads(record.read_text()), "token": "0" * 32, "revision": "r9"}
    record.write_text(json.dumps(forged))
    seen = await site.one()
    assert (seen.phase, seen.revision) == (Phase.RUNNING, None)
    record.write_text('{"half of')
    seen = await site.one()
    assert (seen.phase, seen.revision, seen.uid) == (Phase.RUNNING, None, "")


async def test_pids_of_an_earlier_boot_mean_nobody(site: Site) -> None:
    await site.runtime.start(site.container())
    await site.runtime.stop("h-x", 5)
    file = site.layout.run / "containers" / "h-x" / "processes"
    start = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    mine = [os.getpid(), start]
    old = {"boot": "of another day", "shim": mine, "supervisor": mine, "leader": mine}
    file.write_text(json.dumps(old))
    assert await site.phase() is Phase.STOPPED
    await site.runtime.destroy("h-x")  # and it does not kill us
