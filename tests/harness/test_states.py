"""The badge over any course of happenings."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_harness.engine.watch import TurnWatch
from hive_harness.states import IDLE, STARTING, Badge, Doing
from hive_harness.verdict import Verdict, failed
from hive_wire.protocol import AgentState

TOOLS = st.sampled_from(["Bash", "Write"])
VERDICTS = st.sampled_from(
    [
        Verdict("ok"),
        Verdict("cancelled"),
        *(failed(cause, "words") for cause in ("auth", "rate_limit", "billing", "model_error")),
    ]
)
HAPPENINGS = st.one_of(
    st.tuples(st.sampled_from(["engine_up", "turn_began"]), st.sampled_from(["", "bad file"])),
    st.tuples(st.sampled_from(["engine_failed", "troubled"]), st.just("words")),
    st.tuples(st.sampled_from(["asked", "answered"]), TOOLS),
    st.tuples(st.just("turn_ended"), VERDICTS),
    st.tuples(st.just("upkeep"), st.booleans()),
)


@given(st.lists(HAPPENINGS))
def test_a_badge_says_what_is(course: list[tuple[str, Any]]) -> None:
    doing, turn, open_, keeps_up = Doing(), False, list[str](), False
    for what, given_ in course:
        doing = getattr(doing, what)(given_)
        match what:
            case "turn_began" | "turn_ended":
                turn, open_ = what == "turn_began", []
                keeps_up = keeps_up and turn
            case "asked" if turn:
                open_.append(given_)
            case "answered" if given_ in open_:
                open_.remove(given_)
            case "upkeep":
                keeps_up = given_
        badge = doing.badge
        assert badge.state in get_args(AgentState)
        assert (badge.state == "waiting") == bool(open_)
        assert (badge.state == "thinking") == (not open_ and (turn or keeps_up))
        if open_:
            assert open_[0] in badge.detail
        assert doing.stuck().badge.state == "failed"


@pytest.mark.parametrize(
    ("verdict", "badge"),
    [
        (Verdict("ok"), IDLE),
        (Verdict("cancelled"), IDLE),
        (failed("loop", "words"), IDLE),
        (failed("stopped", "words"), IDLE),
        (failed("auth", "words"), Badge("needs-login", "words")),
        (failed("rate_limit", "words", 1234.0), Badge("rate-limited", "words", 1234.0)),
        (failed("engine_missing", "words"), Badge("failed", "words")),
        (failed("billing", "words"), Badge("failed", "words")),
    ],
)
def test_what_the_end_of_a_turn_leaves(verdict: Verdict, badge: Badge) -> None:
    assert Doing().turn_began().turn_ended(verdict).badge == badge
    kept_up = Doing().turn_began().turn_ended(verdict).upkeep(True).upkeep(False)
    assert kept_up.badge == badge


def test_a_broken_agent_file_is_seen_at_rest_and_in_a_turn() -> None:
    for doing in (Doing().engine_up("bad"), Doing().turn_ended(Verdict("ok"), "bad")):
        assert doing.badge == Badge("idle", "bad")
    assert Doing().turn_began("bad").badge == Badge("thinking", "bad")


def test_an_engine_that_starts_late_hides_no_failure() -> None:
    broken = Doing().turn_ended(failed("auth", "401"))
    assert broken.engine_up().badge.state == "needs-login"
    assert Doing().badge == STARTING


def retry(status: int | None, attempt: int) -> dict[str, Any]:
    said = {"attempt": attempt, "max_retries": 4, "error_status": status, "error": "overloaded"}
    return {"type": "system", "subtype": "api_retry", **said}


def test_what_the_engine_tries_to_overcome_is_seen_until_it_has() -> None:
    watch, doing = TurnWatch(), Doing().turn_began()
    watch.feed(retry(529, 2))
    shown = doing.troubled(watch.trouble).badge
    assert shown == Badge("thinking", "the model's API answered 529; it is asked again, 2 of 4")
    watch.feed(retry(None, 3))
    assert watch.trouble == "the model's API did not answer; it is asked again, 3 of 4"
    watch.feed({"type": "stream_event", "event": {"type": "message_start"}})
    assert doing.troubled(watch.trouble).badge == Badge("thinking")
