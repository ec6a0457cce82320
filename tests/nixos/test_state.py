"""Observation from texts that systemd 257 printed, and from all states there can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hive_reconciler.runtime.base import Observed, Phase
from hive_reconciler.runtime.nixos_conf import Conf
from hive_reconciler.runtime.nixos_state import (
    NEVER_SEEN,
    Unit,
    observe,
    parse_machines,
    parse_units,
)

RECORDED = Path(__file__).parent / "recorded"
CONF = Conf("k3f9k3f9k3f9", "h-a", "/r", "r1", "k1", "/s", "/s", True, ())
RUNNING = Unit("h-a-1", "active", "running", "success", 9, None, 0, 100.0, 5, 6)


def one(conf: Conf, unit: Unit | None, *machines: str, stopped: bool = False) -> Observed:
    (found,) = observe(
        [conf],
        {} if unit is None else {"h-a-1": unit},
        frozenset(machines),
        frozenset({"h-a"} if stopped else ()),
        tag="-1",
        unenforced=("cpus",),
    )
    return found


def test_a_running_container_carries_its_revision() -> None:
    seen = one(CONF, RUNNING, "h-a-1")
    assert (seen.phase, seen.revision, seen.restart_key) == (Phase.RUNNING, "r1", "k1")
    assert (seen.started, seen.memory, seen.tasks) == (100.0, 5, 6)
    assert seen.unenforced == ("cpus",)


def test_a_switch_without_a_known_end_has_no_revision() -> None:
    assert one(CONF.switching_to("/t"), RUNNING, "h-a-1").revision is None


def test_a_switch_without_a_known_end_is_made_again_without_a_restart() -> None:
    """Without a key it would count as one of which nothing tells what it runs."""
    assert one(CONF.switching_to("/t"), RUNNING, "h-a-1").restart_key == "k1"


@pytest.mark.parametrize(
    ("active", "registered", "phase"),
    [
        ("active", True, Phase.RUNNING),
        ("active", False, Phase.RUNNING),
        ("reloading", True, Phase.RUNNING),
        ("activating", False, Phase.STARTING),
        ("deactivating", True, Phase.STOPPING),
        ("inactive", False, Phase.STOPPED),
        ("failed", False, Phase.STOPPED),
        ("failed", True, Phase.BROKEN),
        ("inactive", True, Phase.BROKEN),
    ],
)
def test_phases(active: str, registered: bool, phase: Phase) -> None:
    machines = ("h-a-1",) if registered else ()
    assert one(CONF, replace(RUNNING, active=active), *machines).phase is phase


def test_how_it_ended() -> None:
    crashed = replace(NEVER_SEEN, active="failed", result="exit-code", ended=3)
    assert one(CONF, crashed).exit_status == 3
    assert one(CONF, crashed, stopped=True).exit_status is None
    oom = replace(crashed, result="oom-kill", ended=137)
    assert (one(CONF, oom).exit_status, one(CONF, oom).oom_killed) == (137, True)
    never = one(CONF, None)
    assert (never.phase, never.exit_status, never.revision) == (Phase.STOPPED, None, None)


def test_the_texts_of_systemd() -> None:
    units = parse_units((RECORDED / "systemctl-show.txt").read_text())
    assert set(units) == {"h-x0", "h-x1", "h-x2"}
    up = units["h-x0"]
    assert up.active == "active"
    assert up.pid is not None
    assert up.entered is not None and up.entered > 1.7e9
    assert units["h-x1"].active == "inactive"
    assert units["h-x1"].pid is None
    killed = units["h-x2"]
    assert (killed.active, killed.result, killed.ended) == ("deactivating", "signal", 128 + 9)
    machines = parse_machines((RECORDED / "machinectl-list.json").read_text())
    assert machines == {"h-x0", "h-x2"}
    assert parse_machines("") == frozenset()
    assert parse_units("") == {}


@pytest.mark.parametrize(
    ("sub", "restarts"), [("auto-restart", 0), ("auto-restart-queued", 0), ("start-pre", 7)]
)
def test_a_run_that_systemd_would_repeat_is_over(sub: str, restarts: int) -> None:
    """With the machine of a killed nspawn still registered it would be repeated for ever."""
    unit = replace(
        RUNNING, active="activating", sub=sub, result="signal", ended=137, restarts=restarts
    )
    seen = one(CONF, unit, "h-a-1")
    assert (seen.phase, seen.exit_status, seen.revision) == (Phase.STOPPED, 137, None)
