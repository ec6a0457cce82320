"""The planner over anything that there may be."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.plans import NOW, TOOLS, desired, running, uid, valid

from hive_reconciler.core.planner import plan
from hive_reconciler.model.desired import Invalid, Unreadable, Valid
from hive_reconciler.model.memory import AgentMemory, Memory
from hive_reconciler.model.plan import Kind
from hive_reconciler.model.plan_text import plan_text
from hive_reconciler.runtime.base import Phase
from hive_wire.parse import SpecProblem

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
