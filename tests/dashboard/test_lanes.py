from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from hive_dashboard.live.lanes import HOUR, Lanes
from hive_wire.protocol import Event

NOW = 10 * HOUR
STATES = st.sampled_from(["idle", "thinking", "waiting", "offline"])


def changes(rows: list[tuple[float, str]], name: str = "scout") -> list[Event]:
    return [
        Event(
            id=i,
            agent="b" * 12,
            name=name,
            seq=i,
            turn=None,
            kind="state",
            data={"state": state},
            at=at,
        )
        for i, (at, state) in enumerate(rows, 1)
    ]


@given(st.lists(st.tuples(st.floats(0, NOW), STATES), max_size=50))
def test_the_hour_is_covered_once(rows: list[tuple[float, str]]) -> None:
    lanes = Lanes()
    lanes.load(changes(sorted(rows, key=lambda row: row[0])))
    for spans in lanes.spans(NOW).values():
        assert spans[-1].end == NOW
        assert spans[0].start >= NOW - HOUR
        for left, right in itertools.pairwise(spans):
            assert left.end == right.start
            assert left.state != right.state
        assert all(span.start < span.end for span in spans)


def test_the_state_before_the_hour_reaches_into_it() -> None:
    lanes = Lanes()
    lanes.load(changes([(0, "idle"), (NOW - 60, "thinking")]))
    first, last = lanes.spans(NOW)["scout"]
    assert (first.start, first.end, first.state) == (NOW - HOUR, NOW - 60, "idle")
    assert (last.end, last.state) == (NOW, "thinking")


def test_who_did_nothing_is_left_out() -> None:
    lanes = Lanes()
    lanes.load(changes([(0, "idle")]))
    lanes.add(changes([(1, "idle"), (NOW - 5, "failed")], "other"))
    assert list(lanes.spans(NOW)) == ["other"]
