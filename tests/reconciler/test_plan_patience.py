"""How long the planner waits after failures and crashes."""

from dataclasses import replace

import pytest
from support.plans import NOW, TOOLS, desired, kinds, recalled, running, uid, valid

from hive_reconciler.core import recall
from hive_reconciler.core.planner import plan
from hive_reconciler.model.memory import AgentMemory, Failure, Memory
from hive_reconciler.model.plan import Kind
from hive_reconciler.runtime.base import Phase


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("state", ["running", "stopped"])
@pytest.mark.parametrize("revision", ["r1", "r2"])
@pytest.mark.parametrize("known", [True, False])
def test_what_failed_is_not_tried_again_before_its_time(phase, state, revision, known):
    """Also a stop, and an adoption that wrote to a full disk: else the loop turns without pause."""
    entry = valid(state=state)
    seen = running("scout", entry, phase=phase, revision=revision)
    memory = recalled({"scout": entry}) if known else Memory({uid("scout"): AgentMemory()})
    failed = recall.failed(
        memory.agents[uid("scout")], Failure("r1", "Failed", "no", False), NOW, 1
    )
    memory = Memory({uid("scout"): failed})
    assert plan(desired({"scout": entry}), [seen], memory, TOOLS, NOW).actions == ()
    later = plan(desired({"scout": entry}), [seen], memory, TOOLS, NOW + 2)
    fresh = plan(desired({"scout": entry}), [seen], recalled({"scout": entry}), TOOLS, NOW)
    assert kinds(later) == kinds(fresh)


def test_failures_back_off_and_another_revision_starts_afresh():
    memory = recall.wanted(AgentMemory(), "scout", valid())
    delays = []
    for _ in range(12):
        memory = recall.failed(memory, Failure("r1", "Failed", "no", False), NOW, 1.0)
        delays.append(memory.retry_at - NOW)
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    found = plan(desired({"scout": valid()}), [], Memory({uid("scout"): memory}), TOOLS, NOW)
    assert found.actions == ()
    assert found.blocked[0].until == NOW + 300
    fresh = recall.wanted(memory, "scout", valid(revision="r2"))
    assert (fresh.failures, fresh.failure, fresh.retry_at) == (0, None, 0.0)


def test_a_permanent_failure_waits_for_another_revision():
    memory = recall.wanted(AgentMemory(), "scout", valid())
    memory = recall.failed(memory, Failure("r1", "UnsupportedNetwork", "no", True), NOW, 1.0)
    late = plan(
        desired({"scout": valid()}), [], Memory({uid("scout"): memory}), TOOLS, NOW + 10_000
    )
    assert late.actions == ()
    assert late.blocked[0].until is None
    other = valid(revision="r2")
    memory = recall.wanted(memory, "scout", other)
    again = plan(desired({"scout": other}), [], Memory({uid("scout"): memory}), TOOLS, NOW)
    assert kinds(again) == [(Kind.CREATE, "scout")]


def test_crashes_back_off_until_quarantine_and_a_healthy_run_forgives():
    entry = valid()
    up, ended = running("scout", entry), running("scout", entry, phase=Phase.STOPPED)
    memory = recall.started(recall.wanted(AgentMemory(), "scout", entry), entry, "h-scout")
    now, delays = NOW, []
    for _ in range(5):
        memory = recall.seen(memory, replace(up, started=now), now, now)
        memory = recall.seen(memory, ended, now, now)
        assert recall.seen(memory, ended, now, now) == memory, "one end is one crash"
        delays.append(memory.crash_retry_at - now)
        now = memory.crash_retry_at
    assert delays == [2, 6, 18, 54, 162]
    assert memory.quarantined
    found = plan(desired({"scout": entry}), [ended], Memory({uid("scout"): memory}), TOOLS, now)
    assert (found.actions, found.blocked[0].reason) == ((), "Quarantined")
    restarted = recall.wanted(memory, "scout", valid(revision="r2", restarts=1))
    assert not restarted.quarantined
    calm = recall.started(replace(memory, quarantined=False), entry, "h-scout")
    calm = recall.seen(calm, replace(up, started=now), now + 599, now)
    assert calm.crashes
    assert not recall.seen(calm, replace(up, started=now), now + 601, now).crashes


def test_an_ordered_stop_is_no_crash():
    entry = valid()
    memory = recall.started(recall.wanted(AgentMemory(), "scout", entry), entry, "h-scout")
    memory = recall.stopping(memory)
    assert recall.seen(memory, None, NOW, NOW).crashes == ()


def test_a_start_that_was_asked_for_is_no_drift():
    """Stopped and started again, its files are what they were when it ran."""
    runs, stopped = valid(), valid(revision="r0", state="stopped")
    ended = running("scout", runs, phase=Phase.STOPPED)
    memory = recall.wanted(recall.wanted(AgentMemory(), "scout", stopped), "scout", runs)
    found = plan(desired({"scout": runs}), [ended], Memory({runs.spec.uid: memory}), TOOLS, NOW)
    assert kinds(found) == [(Kind.START, "scout")]
    assert not found.changes[0].drift
    assert not recall.started(memory, runs, "h-scout").start_asked
    again = recall.wanted(recall.started(memory, runs, "h-scout"), "scout", runs)
    found = plan(desired({"scout": runs}), [ended], Memory({runs.spec.uid: again}), TOOLS, NOW)
    assert found.changes[0].drift
