"""One observation after another: what is the same stays the same object, and nothing else differs."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hive_reconciler.core.sight import Sight
from hive_reconciler.core.slices import at_once
from hive_reconciler.runtime.base import Observed, Phase

FIRST = Observed("", "", Phase.RUNNING, "r1", "k1", 1.0, None, 1, 1)
one = st.builds(
    lambda name, uid, phase, revision, tasks: replace(
        FIRST, name=name, uid=uid, phase=phase, revision=revision, tasks=tasks
    ),
    st.sampled_from(["h-a", "h-b", "h-c"]),
    st.sampled_from(["u1", "u2", "u3", ""]),
    st.sampled_from([Phase.RUNNING, Phase.STOPPED]),
    st.sampled_from(["r1", "r2"]),
    st.integers(1, 2),
)
observations = st.lists(one, max_size=3, unique_by=lambda seen: seen.name)


def shape(sight):
    """All but what containers use at the moment."""
    calm = [replace(seen, tasks=1) for seen in sight.all]
    by_uid = {uid: replace(seen, tasks=1) for uid, seen in sight.by_uid.items()}
    live = {name: replace(seen, tasks=1) for name, seen in sight.live.items()}
    lost = [seen.name for seen in sight.lost]
    of = [seen.name for seen in sight.of(["u1", "u3", ""])]
    return calm, by_uid, live, lost, sight.stranger, of


@given(st.lists(observations, min_size=1, max_size=6))
def test_any_row_of_observations(row):
    sight = Sight()
    for observed in row:
        before, sight = sight, at_once(sight.following(Sight(observed)))
        assert shape(sight) == shape(Sight(observed))
        former = {seen.name: seen for seen in before.all}
        for seen in sight.all:
            if seen.name in former and former[seen.name].stands_as(seen):
                assert former[seen.name] is seen
            assert sight.by_uid[seen.uid].uid == seen.uid
        for seen in sight.live.values():
            assert any(seen is known for known in sight.all)


def test_who_only_uses_more_is_no_news():
    seen = replace(FIRST, name="h-a", uid="u1")
    sight = Sight([seen])
    assert at_once(sight.following(Sight([replace(seen, memory=5, tasks=3)]))) is sight
