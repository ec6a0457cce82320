"""The planner: scenarios in words, and properties over anything."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from hive_reconciler.core import recall
from hive_reconciler.core.containers import Toolchain, restart_key
from hive_reconciler.core.planner import plan
from hive_reconciler.model.desired import Desired, Invalid, Unreadable, Valid
from hive_reconciler.model.memory import AgentMemory, Failure, Memory
from hive_reconciler.model.plan import Kind
from hive_reconciler.model.plan_text import plan_text
from hive_reconciler.runtime.base import Observed, Phase
from hive_wire.hivetoml import HiveToml
from hive_wire.names import container_name
from hive_wire.parse import SpecProblem
from hive_wire.spec import AgentSpec

TOOLS = Toolchain("t1", ("python3", "-m", "hive_harness"), (), ())
HIVE = HiveToml(schema=1)
NOW = 1_000_000.0


def uid(name):
    return name.ljust(12, "z")


def valid(name="scout", revision="r1", **fields):
    return Valid(AgentSpec(uid=uid(name), **fields), "be good", revision, "t" * 40)


def running(name, entry, **fields):
    seen = Observed(
        name=container_name(name, entry.spec.role),
        uid=entry.spec.uid,
        phase=Phase.RUNNING,
        revision=entry.revision,
        restart_key=restart_key(name, entry.spec, TOOLS),
        started=NOW - 100,
        exit_status=None,
        memory=1,
        tasks=1,
    )
    return replace(seen, **fields)


def desired(agents, allow_prune=0):
    return Desired("c" * 40, HIVE, agents, allow_prune)


def recalled(agents, **fields):
    """Memory after these agents were read and reached."""
    return Memory(
        {
            entry.spec.uid: AgentMemory(good=entry, ran=entry, name=name, expected=True, **fields)
            for name, entry in agents.items()
        }
    )


def kinds(found):
    return [(a.kind, a.agent) for a in found.changes]


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


@pytest.mark.parametrize("bad", [Unreadable("gone"), Invalid((), "t" * 40)])
def test_a_rename_waits_while_the_files_are_bad(bad):
    agent = valid("scout")
    found = plan(
        desired({"guide": bad}), [running("scout", agent)], recalled({"guide": agent}), TOOLS, NOW
    )
    assert kinds(found) == []


def test_a_rename_waits_for_no_good_files_where_another_agent_has_the_old_name():
    agent, heir = valid("scout"), valid("heir")
    agents = {"guide": Unreadable("gone"), "scout": heir}
    found = plan(desired(agents), [running("scout", agent)], recalled({"guide": agent}), TOOLS, NOW)
    assert kinds(found) == [(Kind.RESTART, "guide")]


def test_a_renamed_agent_is_restarted_in_its_new_container():
    entry = valid("scout")
    found = plan(
        desired({"spy": entry}), [running("scout", entry)], recalled({"scout": entry}), TOOLS, NOW
    )
    assert kinds(found) == [(Kind.RESTART, "spy")]
    assert found.changes[0].container == "h-spy"


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


def test_the_manager_comes_before_the_others_and_removals_before_all():
    agents = {"a": valid("a"), "hm1nd": valid("hm1nd", role="manager")}
    old = valid("old")
    seen = [running("old", old), running("hm1nd", agents["hm1nd"], phase=Phase.STOPPED)]
    found = plan(desired(agents), seen, Memory(), TOOLS, NOW)
    assert kinds(found) == [(Kind.DESTROY, "old"), (Kind.START, "hm1nd"), (Kind.CREATE, "a")]


# -- prune guard -------------------------------------------------------------------


def removal(gone, kept, allow=0, memory=None, phase=Phase.RUNNING):
    agents = {f"k{i}": valid(f"k{i}") for i in range(kept)}
    old = {f"g{i}": valid(f"g{i}") for i in range(gone)}
    seen = [running(n, e, phase=phase) for n, e in {**agents, **old}.items()]
    return plan(desired(agents, allow), seen, memory or recalled(agents), TOOLS, NOW)


@pytest.mark.parametrize(
    ("gone", "kept", "allowed"),
    [(1, 3, True), (2, 1, True), (3, 3, False), (3, 12, True), (4, 12, False), (1, 0, False)],
)
def test_the_prune_guard(gone, kept, allowed):
    found = removal(gone, kept)
    assert len(kinds(found)) == (gone if allowed else 0)
    assert bool([b for b in found.blocked if b.reason == "PruneGuard"]) is not allowed


def test_a_host_is_not_emptied_either_once_its_last_container_has_crashed():
    found = removal(1, 0, phase=Phase.STOPPED)
    assert kinds(found) == []
    assert [b.reason for b in found.blocked] == ["PruneGuard"]


def test_a_merge_may_allow_it_and_only_as_many_as_it_says():
    assert len(kinds(removal(5, 1, allow=5))) == 5
    assert kinds(removal(5, 1, allow=4)) == []


def test_what_was_allowed_once_stays_allowed():
    memory = Memory({}, frozenset(uid(f"g{i}") for i in range(5)))
    assert len(kinds(removal(5, 1, memory=memory))) >= 5


@given(gone=st.integers(0, 40), kept=st.integers(0, 40), allow=st.integers(0, 40))
@settings(max_examples=examples(200))
def test_nothing_beyond_the_guard_is_ever_removed(gone, kept, allow):
    removed = [k for k, _ in kinds(removal(gone, kept, allow)) if k is Kind.DESTROY]
    limit = max(2, (gone + kept) // 5)
    if allow >= gone:
        assert len(removed) == gone
    elif gone > limit or kept == 0:
        assert removed == []


# -- anything ------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c", "d", "e"])
entries = st.one_of(
    st.builds(
        lambda state, restarts, revision: ("valid", state, restarts, revision),
        st.sampled_from(["running", "stopped"]),
        st.integers(0, 2),
        st.sampled_from(["r1", "r2"]),
    ),
    st.just(("invalid",)),
    st.just(("unreadable",)),
)
phases = st.sampled_from(list(Phase))


def entry_of(name, drawn):
    if drawn[0] == "invalid":
        return Invalid((SpecProblem("f", 1, "k", "m"),), "t")
    if drawn[0] == "unreadable":
        return Unreadable("disk")
    return valid(name, revision=drawn[3], state=drawn[1], restarts=drawn[2])


worlds = st.fixed_dictionaries(
    {
        "desired": st.dictionaries(names, entries, max_size=5),
        "seen": st.dictionaries(
            names, st.tuples(phases, st.sampled_from(["r1", "r2"])), max_size=5
        ),
        "known": st.sets(names),
        "allow": st.integers(0, 5),
    }
)


def world(drawn):
    agents = {name: entry_of(name, e) for name, e in drawn["desired"].items()}
    seen = [
        running(n, valid(n, revision=r), phase=p) for n, (p, r) in sorted(drawn["seen"].items())
    ]
    known = {uid(n): AgentMemory(good=valid(n), name=n, expected=True) for n in drawn["known"]}
    return desired(agents, drawn["allow"]), seen, Memory(known)


@given(worlds, st.randoms())
@settings(max_examples=examples(300))
def test_the_same_inputs_give_the_same_plan_and_never_two_actions_for_one_agent(drawn, random):
    want, seen, memory = world(drawn)
    first = plan(want, seen, memory, TOOLS, NOW)
    mixed = random.sample(seen, len(seen))
    assert first == plan(want, mixed, memory, TOOLS, NOW), "whatever order they are seen in"
    uids = [a.uid for a in first.actions]
    assert len(uids) == len(set(uids))
    assert plan_text(first.as_json())


@given(worlds)
@settings(max_examples=examples(300))
def test_a_present_agent_is_never_removed_and_only_the_wanted_is_started(drawn):
    want, seen, memory = world(drawn)
    found = plan(want, seen, memory, TOOLS, NOW)
    for action in found.actions:
        entry = want.agents.get(action.agent)
        if action.kind is Kind.DESTROY:
            assert action.agent not in want.agents
        elif action.kind in (Kind.CREATE, Kind.START, Kind.RESTART):
            spec = entry.spec if isinstance(entry, Valid) else memory.agents[action.uid].good.spec
            assert spec.state == "running"


@given(worlds)
@settings(max_examples=examples(300))
def test_doing_the_plan_leads_to_nothing_more_to_do(drawn):
    want, seen, memory = world(drawn)
    containers = {o.name: o for o in seen}
    for _ in range(6):
        found = plan(want, list(containers.values()), memory, TOOLS, NOW)
        for action in found.changes:
            _do(action, containers, want, memory)
        containers = {
            n: replace(o, phase=Phase.RUNNING if o.phase is Phase.STARTING else o.phase)
            for n, o in containers.items()
        }
        containers = {
            n: replace(o, phase=Phase.STOPPED if o.phase is Phase.STOPPING else o.phase)
            for n, o in containers.items()
        }
    assert plan(want, list(containers.values()), memory, TOOLS, NOW).changes == ()


def _do(action, containers, want, memory):
    for name in [n for n, o in containers.items() if o.uid == action.uid]:
        if action.kind is Kind.DESTROY:
            del containers[name]
        else:
            containers[name] = replace(containers[name], phase=Phase.STOPPED)
    entry = want.agents.get(action.agent)
    good = (
        entry if isinstance(entry, Valid) else getattr(memory.agents.get(action.uid), "good", None)
    )
    if action.kind in (Kind.CREATE, Kind.START, Kind.RESTART, Kind.UPDATE):
        containers[action.container] = running(action.agent, good)


# -- memory --------------------------------------------------------------------------


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


# -- text ----------------------------------------------------------------------------


def test_the_text_tells_drift_apart_and_counts():
    agents = {"new": valid("new"), "hurt": valid("hurt")}
    memory = recalled({"hurt": agents["hurt"]})
    memory = Memory({u: recall.crashed(m, NOW - 400) for u, m in memory.agents.items()})
    ended = running("hurt", agents["hurt"], phase=Phase.STOPPED, exit_status=3)
    text = plan_text(plan(desired(agents), [ended], memory, TOOLS, NOW).as_json())
    approved, drift = text.split("Drift")
    assert "+ new (create h-new)" in approved
    assert "+ hurt (start h-hurt)" in drift
    assert "status 3" in drift
    assert text.endswith("1 to create, 1 to start.")


def test_nothing_to_do_says_so():
    agents = {"scout": valid()}
    found = plan(desired(agents), [running("scout", valid())], recalled(agents), TOOLS, NOW)
    assert plan_text(found.as_json()).startswith("Nothing to do")


def test_two_that_swap_their_names_do_not_wait_for_each_other():
    one, other = valid("one"), valid("other")
    seen = [running("one", one), running("other", other)]
    agents = {"other": one, "one": other}
    found = plan(desired(agents), seen, recalled(agents), TOOLS, NOW)
    assert [a.kind for a in found.actions] == [Kind.STOP, Kind.STOP]


def test_a_name_that_is_still_in_use_is_waited_for():
    old, new = valid("scout"), replace(valid("scout", "r2"), spec=valid("other").spec)
    found = plan(desired({"scout": new}), [running("scout", old)], recalled({}), TOOLS, NOW)
    assert [b.reason for b in found.blocked if b.agent == "scout"] == ["NameTaken"]
    assert [a.uid for a in found.actions] in ([], [uid("scout")])


@pytest.mark.parametrize("bad", [Unreadable("gone"), Invalid((), "t" * 40)])
def test_a_name_that_is_still_in_use_is_waited_for_while_the_files_are_bad(bad):
    heir, former = valid("heir"), valid("former")
    found = plan(
        desired({"scout": bad, "guide": former}),
        [running("scout", former)],
        recalled({"scout": heir, "guide": former}),
        TOOLS,
        NOW,
    )
    assert kinds(found) == [(Kind.RESTART, "guide")]
    assert "NameTaken" in {b.reason for b in found.blocked if b.agent == "scout"}


@pytest.mark.parametrize("bad", [Unreadable("gone"), Invalid((), "t" * 40)])
def test_what_a_rename_left_stays_while_the_agent_runs_and_its_files_are_bad(bad):
    """Nothing is remembered; to remove what is left would end all that the uid has."""
    agent = valid("scout")
    seen = [running("scout", agent, phase=Phase.STOPPED), running("guide", agent)]
    found = plan(desired({"guide": bad}), seen, recalled({}), TOOLS, NOW)
    assert found.actions == ()
    doubt = found.blocked[-1]
    assert (doubt.agent, doubt.uid, doubt.reason) == ("scout", uid("scout"), "OwnerInDoubt")
    assert "h-guide" in doubt.message
