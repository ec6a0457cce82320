"""The soak's judgement turns red when a message or a token is lost or doubled."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.soak import Findings, not_once

CLEAN = Findings(
    jobs=2,
    attempts=3,
    seconds=1.0,
    kills={},
    faults={},
    served=4400,
    undoubted=3300,
    metered=3300,
    claimed=3300,
    excusable=1100,
    peaks={},
    not_once=[],
    leaked=[],
    stayed=[],
)
JOBS = {0: 10, 1: 11}
DONE = {10: 1, 11: 1}
SAID = {"did 0": 1, "did 1": 1}


def test_what_is_right_is_not_blamed() -> None:
    assert not_once(JOBS, DONE, SAID) == []
    assert CLEAN.wrong == []
    # What a kill may have cut is forgiven, and so is a fault that was counted.
    assert replace(CLEAN, metered=2200).wrong == []
    assert replace(CLEAN, metered=4400, claimed=4400).wrong == []


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ({10: 1}, SAID),  # a broker that lost a turn
        ({**DONE, 11: 2}, SAID),  # one that gave it twice
        (DONE, {"did 0": 1}),  # an answer is gone
        (DONE, {**SAID, "did 1": 2}),  # an answer came twice
    ],
)
def test_a_message_that_is_not_done_once_is_named(
    done: dict[int, int], said: dict[str, int]
) -> None:
    (found,) = not_once(JOBS, done, said)
    assert found.startswith("job 1: ")
    assert replace(CLEAN, not_once=[found]).wrong == [found]


@pytest.mark.parametrize(
    ("count", "what"),
    [
        ({"metered": 2199}, "the gateway counted 2199 tokens"),  # it lost more than was cut
        ({"metered": 4401}, "the gateway counted 4401 tokens"),  # it counted twice
        ({"claimed": 4401}, "the harnesses claimed 4401 tokens"),
    ],
)
def test_counts_that_no_kill_explains_are_wrong(count: dict[str, int], what: str) -> None:
    assert what in replace(CLEAN, **count).wrong


@pytest.mark.parametrize("kind", ["leaked", "stayed"])
def test_a_process_that_is_left_is_wrong(kind: str) -> None:
    assert replace(CLEAN, **{kind: ["sleep 3333"]}).wrong == ["sleep 3333"]
