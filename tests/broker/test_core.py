"""The small pure parts: gate, budget, questions, reminders, calls, addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_broker.core.addressing import Unaddressable, check_body, preview, recipients, unknown
from hive_broker.core.budget import DAY, HOUR, Spending, price
from hive_broker.core.calls import Call, CallLog, digest_of, turn_of
from hive_broker.core.clock import Clock
from hive_broker.core.delivery import Turn
from hive_broker.core.gate import Gate, Refused
from hive_broker.core.questions import Question, Unanswerable
from hive_broker.core.reminders import BadTime, Reminder, parse_at, parse_every, parse_span
from hive_wire.protocol import MAX_BODY, Usage
from hive_wire.terms import Budget

# -- gate --------------------------------------------------------------------------


def test_a_hold_is_owned_renewed_and_expires():
    gate = Gate()
    gate.hold("one", 10, now=0)
    with pytest.raises(Refused, match="another owner"):
        gate.hold("two", 10, now=5)
    gate.hold("one", 10, now=5)
    assert gate.held(14.9)
    assert not gate.held(15)
    gate.hold("two", 10, now=15)
    gate.release("one")
    assert gate.held(16)
    gate.release("two")
    assert not gate.held(16)


def test_a_hold_lasts_a_minute_at_most():
    gate = Gate()
    gate.hold("one", 1e9, now=0)
    assert not gate.held(60)


def test_a_fence_needs_a_live_hold_and_no_turn():
    gate = Gate()
    with pytest.raises(Refused, match="not live"):
        gate.check_fence("one", 0, busy=False)
    gate.hold("one", 10, now=0)
    with pytest.raises(Refused, match="a turn runs"):
        gate.check_fence("one", 1, busy=True)
    with pytest.raises(Refused, match="not live"):
        gate.check_fence("one", 10, busy=False)
    gate.check_fence("one", 9, busy=False)


def test_a_new_boot_lifts_hold_and_fence():
    gate = Gate(fenced=True)
    gate.hold("one", 10, now=0)
    gate.new_boot()
    assert not gate.fenced
    assert not gate.held(1)


# -- budget ------------------------------------------------------------------------


def test_turns_an_hour():
    spending, budget = Spending(), Budget(turns_per_hour=2, usd_per_day=5)
    spending.turns.add(0, 1)
    assert spending.limit(budget, 1) is None
    spending.turns.add(100, 1)
    limit = spending.limit(budget, 200)
    assert limit is not None
    assert limit.until == HOUR
    assert "2 turns an hour" in limit.reason
    assert spending.limit(budget, HOUR) is None


def test_usd_a_day_is_the_larger_of_claim_and_count():
    spending, budget = Spending(), Budget(turns_per_hour=1000, usd_per_day=5)
    spending.claimed.add(0, 1.0)
    spending.metered.add(50, price(Usage(output_tokens=400_000)))  # 6 USD
    limit = spending.limit(budget, 100)
    assert limit is not None
    assert limit.until == 50 + DAY
    assert spending.limit(budget, 50 + DAY) is None


def test_a_budget_of_nothing_stops_everything():
    assert Spending().limit(Budget(turns_per_hour=0), 0) is not None
    assert Spending().limit(Budget(usd_per_day=0), 0) is not None


@given(st.lists(st.tuples(st.floats(0, 9e4), st.floats(0, 3)), max_size=30), st.floats(0.1, 5))
def test_a_limit_eases_when_it_says(rows: list[tuple[float, float]], usd: float):
    spending, budget = Spending(), Budget(turns_per_hour=100, usd_per_day=usd)
    for at, amount in sorted(rows):
        spending.claimed.add(at, amount)
    limit = spending.limit(budget, 9e4)
    if limit is not None:
        assert limit.until > 9e4
        assert spending.limit(budget, limit.until) is None


# -- questions ---------------------------------------------------------------------


def question(**other: object) -> Question:
    base = {"id": 7, "uid": "a" * 12, "text": "?", "options": ("red", "blue"), "multi": False}
    return Question(**{**base, "asked": 0.0, "expires": 100.0, **other})  # type: ignore[arg-type]


def test_an_answer_is_a_text_or_choices_that_exist():
    assert question().answered("ann", None, ["red"]).answer == {
        "text": "", "choices": ["red"], "late": False,
    }  # fmt: skip
    with pytest.raises(Unanswerable, match="red, blue"):
        question().answered("ann", None, ["green"])
    with pytest.raises(Unanswerable, match="one choice"):
        question().answered("ann", None, ["red", "blue"])
    with pytest.raises(Unanswerable, match="a text, a choice"):
        question().answered("ann", "  ", [])
    both = question(multi=True).answered("ann", "or none", ["red", "blue"])
    assert both.answered_by == "ann"


def test_a_question_is_answered_once_even_late():
    late = question().expired().answered("ann", "yes", [])
    assert late.answer is not None
    assert late.answer["late"] is True
    with pytest.raises(Unanswerable, match="answered by ann"):
        late.answered("bob", "no", [])
    with pytest.raises(Unanswerable, match="withdrawn"):
        question().withdrawn().answered("bob", "no", [])


def test_typing_keeps_a_question_alive():
    assert question().typing(10).expires == 100
    assert question().typing(95).expires == 155
    assert question(expires=None).typing(95).expires is None
    assert question().extended(10, 900).expires == 1000
    assert question(expires=None).extended(10, 900).expires is None


# -- reminders ---------------------------------------------------------------------


def test_spans_and_times():
    assert parse_span("90s") == 90
    assert parse_at("2h", 1000) == 8200
    assert parse_at("1970-01-01T02:00:00+01:00", 1000) == 3600
    assert parse_at("1970-01-01T01:00:00Z", 1000) == 3600
    for text in ("soon", "1970-01-01T01:00:00", "1970-01-01T00:00:01Z", "9999d", ""):
        with pytest.raises(BadTime):
            parse_at(text, 1000)
    with pytest.raises(BadTime, match="1m"):
        parse_every("59s")


@given(st.floats(60, 1e6), st.floats(0, 1e9), st.floats(0, 1e8))
def test_an_every_rings_once_for_all_it_missed(every: float, due: float, late: float):
    left = Reminder(1, "a" * 12, "x", due, every).after(due + late)
    assert left is not None
    assert due + late < left.due + 1e-3
    assert left.due <= due + late + every + 1e-3


def test_an_at_rings_once():
    assert Reminder(1, "a" * 12, "x", 5, None).after(5) is None


# -- calls -------------------------------------------------------------------------


def log() -> CallLog:
    return CallLog(Call(n, f"5.1:{n}", 5, "send", "same", f"answer {n}") for n in (1, 2))


def test_the_same_name_is_the_same_call():
    found = log().find("5.1:2", 5, "send", "same")
    assert found is not None
    assert found.result == "answer 2"
    assert log().find("5.1:3", 5, "send", "same") is None


def test_the_same_name_for_another_call_is_another_call():
    """A harness forgot in a power cut which names it had given."""
    assert log().find("5.1:2", 5, "send", "other") is None
    assert log().find("5.1:2", 5, "recv", "same") is None


def test_only_what_was_not_handed_on_answers_a_new_call():
    calls = log()
    calls.handed(Turn(5, 1), frozenset({"5.1:1"}))
    found = calls.find("5.1:3", 5, "send", "same")
    assert found is not None
    assert found.result == "answer 2"
    calls.add(calls.renamed(found, "5.1:3"))
    assert calls.find("5.1:4", 5, "send", "same") is None
    again = calls.find("5.1:3", 5, "send", "same")
    assert again is not None
    assert again.result == "answer 2"


def test_what_an_end_names_as_unseen_answers_once():
    calls = log()
    calls.repeat({"5.1:2", "5.1:9"})
    assert calls.names == {"5.1:1", "5.1:2"}
    found = calls.find("5.2:1", 5, "send", "same")
    assert found is not None
    assert found.result == "answer 2"
    calls.add(calls.renamed(found, "5.2:1"))
    assert calls.find("5.2:2", 5, "send", "same") is None


def test_a_fresh_session_repeats_in_order():
    calls = log()
    calls.repeat_all(5)
    results = []
    for n in (1, 2, 3):
        found = calls.find(f"5.2:{n}", 5, "send", "same")
        if found is not None:
            results.append(found.result)
            calls.add(calls.renamed(found, f"5.2:{n}"))
    assert results == ["answer 1", "answer 2"]
    calls.forget(5)
    assert calls.find("5.2:1", 5, "send", "same") is None


def test_names_and_digests():
    assert turn_of("5.2:17") == Turn(5, 2)
    for bad in ("5.2", "5:1", "x.y:1", "5.2:-1", "5.2:" + "9" * 80):
        with pytest.raises(ValueError):
            turn_of(bad)
    assert digest_of({"a": 1, "b": "ü"}) == digest_of({"b": "ü", "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})


# -- addresses ---------------------------------------------------------------------

LIVE = {"scout": "s" * 12, "miner": "m" * 12, "cook": "c" * 12}


def test_everyone_is_everyone_else():
    assert recipients("everyone", LIVE, sender="scout") == ("m" * 12, "c" * 12)
    assert recipients("operator", LIVE, sender="scout") == ()


def test_may_send_to_is_a_wall_with_a_sign():
    with pytest.raises(Unaddressable, match=r"may write to: cook, operator"):
        recipients("miner", LIVE, sender="scout", may_send_to=("operator", "cook"))
    with pytest.raises(Unaddressable, match="everyone"):
        recipients("everyone", LIVE, sender="scout", may_send_to=("cook",))
    assert recipients("cook", LIVE, sender="scout", may_send_to=("cook",)) == ("c" * 12,)


def test_errors_name_what_there_is():
    assert "did you mean scout" in unknown("scuot", LIVE)
    assert "cook, miner, scout" in unknown("zzz", LIVE)
    with pytest.raises(Unaddressable, match="yourself"):
        recipients("scout", LIVE, sender="scout")


def test_bodies_have_a_size_that_always_fits_a_frame():
    check_body("x" * MAX_BODY)
    check_body("ü" * (MAX_BODY // 2))
    for bad in ("", " \n", "x" * (MAX_BODY + 1), "ü" * MAX_BODY, "\x01" * 100_000, '"' * MAX_BODY):
        with pytest.raises(Unaddressable):
            check_body(bad)


def test_previews_are_one_short_line():
    assert preview("a\n b\tc") == "a b c"
    assert len(preview("word " * 1000)) == 200


def test_the_steady_clock_carries_wall_times():
    clock = Clock(wall=lambda: 1000.0, steady=lambda: 5.0)
    assert clock.steady_at(1010.0) == 15.0
