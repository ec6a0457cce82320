"""The planner: scenarios in words."""

from dataclasses import replace

import pytest
from support.plans import NOW, TOOLS, desired, kinds, recalled, running, valid

from hive_reconciler.core.planner import plan
from hive_reconciler.model.desired import Invalid, Unreadable
from hive_reconciler.model.memory import Memory
from hive_reconciler.model.plan import Kind
from hive_reconciler.runtime.base import Phase
from hive_wire.parse import SpecProblem


def test_an_agent_without_container_is_created_and_that_is_approved():
    found = plan(desired({"scout": valid()}), [], Memory(), TOOLS, NOW)
    assert kinds(found) == [(Kind.CREATE, "scout")]
    assert not found.actions[0].drift
    assert found.actions[0].container == "h-scout"


def test_what_runs_as_applied_needs_nothing():
    agents = {"scout": valid()}
    found = plan(desired(agents), [running("scout", valid())], recalled(agents), TOOLS, NOW)
    assert found.actions == ()


def test_what_a_former_process_started_is_adopted_and_that_is_no_change():
    found = plan(desired({"scout": valid()}), [running("scout", valid())], Memory(), TOOLS, NOW)
    assert [a.kind for a in found.actions] == [Kind.ADOPT]
    assert found.changes == ()


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"description": "new"}, Kind.UPDATE, "description"),
        ({"model": "claude-opus-4"}, Kind.UPDATE, "model"),
        ({"limits": {"memory": "4G"}}, Kind.UPDATE, "limits"),
        ({"restarts": 1}, Kind.RESTART, "restarts"),
        ({"network": {"mode": "host"}}, Kind.RESTART, "network"),
        ({"state": "stopped"}, Kind.STOP, "stopped"),
    ],
)
def test_a_change_takes_effect_as_its_field_says(fields, kind, words):
    before = valid()
    after = valid(revision="r2", **fields)
    found = plan(
        desired({"scout": after}),
        [running("scout", before)],
        recalled({"scout": before}),
        TOOLS,
        NOW,
    )
    assert kinds(found) == [(kind, "scout")]
    assert words in found.changes[0].reason
    assert not found.changes[0].drift


def test_another_toolchain_is_a_restart_and_drift():
    found = plan(
        desired({"scout": valid()}),
        [running("scout", valid())],
        recalled({"scout": valid()}),
        replace(TOOLS, key="t2"),
        NOW,
    )
    assert kinds(found) == [(Kind.RESTART, "scout")]
    assert found.changes[0].drift


@pytest.mark.parametrize(
    "bad",
    [
        Invalid((SpecProblem("agents/scout/agent.toml", 3, "modle", "is no key here"),), "t"),
        Unreadable("disk"),
    ],
)
def test_a_bad_file_keeps_the_last_good_spec_running(bad):
    good = valid()
    memory = recalled({"scout": good})
    seen = running("scout", good)
    found = plan(desired({"scout": bad}), [seen], memory, TOOLS, NOW)
    assert found.actions == ()
    assert [b.agent for b in found.blocked] == ["scout"]
    crashed = replace(seen, phase=Phase.STOPPED)
    again = plan(desired({"scout": bad}), [crashed], memory, TOOLS, NOW)
    assert kinds(again) == [(Kind.START, "scout")]


def test_a_bad_file_counts_as_present_even_without_memory():
    seen = running("scout", valid())
    bad = Invalid((SpecProblem("f", 1, "k", "m"),), "t")
    others = {n: valid(n) for n in ("a", "b", "c")}
    found = plan(desired({"scout": bad, **others}), [seen], Memory(), TOOLS, NOW)
    assert Kind.DESTROY not in [a.kind for a in found.actions]


def test_an_agent_without_its_engine_says_so_and_is_not_touched():
    tools = replace(TOOLS, claude_problem="no CLI; install it")
    found = plan(desired({"scout": valid()}), [], Memory(), tools, NOW)
    assert found.actions == ()
    assert (found.blocked[0].reason, found.blocked[0].message) == (
        "EngineMissing",
        "no CLI; install it",
    )
    rehearsing = valid(engine="rehearsal")
    assert plan(desired({"scout": rehearsing}), [], Memory(), tools, NOW).changes


def test_half_a_container_is_cured():
    entry = valid()
    seen = running("scout", entry, phase=Phase.BROKEN)
    found = plan(desired({"scout": entry}), [seen], recalled({"scout": entry}), TOOLS, NOW)
    assert kinds(found) == [(Kind.RESTART, "scout")]
    waiting = recalled({"scout": entry}, crash_retry_at=NOW + 5)
    assert kinds(plan(desired({"scout": entry}), [seen], waiting, TOOLS, NOW)) == [
        (Kind.STOP, "scout")
    ]


def test_the_manager_comes_before_the_others_and_removals_before_all():
    agents = {"a": valid("a"), "hm1nd": valid("hm1nd", role="manager")}
    old = valid("old")
    seen = [running("old", old), running("hm1nd", agents["hm1nd"], phase=Phase.STOPPED)]
    found = plan(desired(agents), seen, Memory(), TOOLS, NOW)
    assert kinds(found) == [(Kind.DESTROY, "old"), (Kind.START, "hm1nd"), (Kind.CREATE, "a")]


# -- prune guard -------------------------------------------------------------------
