"""What only the runtime without root does."""

from __future__ import annotations

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from support.containers import AS_ROOT, GO, Site

from hive_reconciler.runtime import doctor, process
from hive_reconciler.runtime.base import Finding, Phase, RuntimeFailure
from hive_reconciler.runtime.process import ProcessRuntime
from hive_wire.paths import Layout

unprivileged = pytest.mark.skipif(AS_ROOT, reason="runs again as a user from test_as_user.py")


@unprivileged
async def test_tasks_are_limited_in_the_container_only(site: Site) -> None:
    before = resource.getrlimit(resource.RLIMIT_NPROC)
    script = "i=0; while [ $i -lt 60 ]; do sleep 60 & i=$((i+1)); done; echo all; exit 0"
    await site.runtime.start(replace(site.container(GO + script), tasks=20))
    site.go()
    await site.until_phase(Phase.STOPPED)
    said = "\n".join(await site.runtime.logs("h-x", 200))
    assert "all" not in said
    assert "fork" in said
    assert resource.getrlimit(resource.RLIMIT_NPROC) == before


@unprivileged
async def test_fewer_tasks_hold_at_once_and_for_all_that_runs(site: Site) -> None:
    more = "i=0; while [ $i -lt 30 ]; do sleep 60 & i=$((i+1)); done; echo all"
    script = f"sh -c '{GO}{more}' & echo up; wait; exit 0"
    container = replace(site.container(script), tasks=60)
    await site.runtime.start(container)
    await site.printed("up")
    await site.runtime.update(replace(container, revision="r2", tasks=20))
    site.go()
    await site.until_phase(Phase.STOPPED)
    said = "\n".join(await site.runtime.logs("h-x", 200))
    assert "all" not in said
    assert "fork" in said


@unprivileged
async def test_more_tasks_are_had_after_a_restart_alone(site: Site) -> None:
    container = replace(site.container(), tasks=20)
    await site.runtime.start(container)
    await site.runtime.update(replace(container, revision="r2", tasks=60))
    assert (await site.one()).revision == "r2"


@unprivileged
async def test_what_is_not_enforced_is_told_or_refused(site: Site) -> None:
    await site.runtime.start(site.container())
    unenforced = (await site.one()).unenforced
    assert "tasks" not in unenforced
    await site.runtime.stop("h-x", 5)
    if unenforced:
        with pytest.raises(RuntimeFailure) as failure:
            await site.runtime.start(replace(site.container(), limits_required=True))
        assert failure.value.reason == "LimitsNotEnforced"


@unprivileged
async def test_without_bubblewrap_nothing_starts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PROGRAM", "/usr/bin/no-bwrap")
    with pytest.raises(RuntimeFailure, match="apt install bubblewrap") as failure:
        await site.runtime.start(site.container())
    assert failure.value.reason == "NoIsolation"
    findings = await site.runtime.doctor()
    assert any(not finding.ok and "bubblewrap" in finding.cure for finding in findings)


@pytest.mark.parametrize("starts", [True, False])
def test_no_setting_is_to_be_weakened_where_containers_start(
    starts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AppArmor may restrict user namespaces and its profile of bubblewrap allow them."""
    monkeypatch.setattr(doctor, "_SYSCTLS", {"kernel/ostype": "Linux"})
    monkeypatch.setattr(doctor, "_trial", lambda *_: Finding(starts, "a container", ""))
    findings = doctor.process_findings(Layout.of(tmp_path))
    assert [f.ok for f in findings if f.what == "kernel.ostype"] == [starts]


@unprivileged
async def test_root_inside_has_no_capabilities(site: Site) -> None:
    await site.runtime.start(site.container(GO + "grep Cap /proc/self/status; exit 0"))
    site.go()
    await site.until_phase(Phase.STOPPED)
    sets = [line.split()[1] for line in await site.runtime.logs("h-x", 9) if "Cap" in line]
    assert len(sets) == 5
    assert {int(value, 16) for value in sets} == {0}


@unprivileged
async def test_two_users_do_not_meet(site: Site) -> None:
    assert site.layout.run.stat().st_uid == os.geteuid()
    assert site.layout.run.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not AS_ROOT, reason="needs root")
async def test_root_is_sent_to_nspawn(tmp_path: Path) -> None:
    runtime = ProcessRuntime(Layout.of(tmp_path))
    container = Site(tmp_path).container()
    with pytest.raises(RuntimeFailure, match="nspawn") as failure:
        await runtime.start(container)
    assert failure.value.reason == "ProcessAsRoot"
