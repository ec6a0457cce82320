"""What keeps a bad merge from wiping a host."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.plans import NOW, TOOLS, desired, kinds, recalled, running, uid, valid

from hive_reconciler.core.planner import plan
from hive_reconciler.model.memory import Memory
from hive_reconciler.model.plan import Kind
from hive_reconciler.runtime.base import Phase


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
