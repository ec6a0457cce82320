from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_harness.engine.watch import TurnWatch
from hive_harness.states import Badge, Doing
from hive_harness.verdict import COUNTED, Evidence, of_result
from hive_wire.protocol import TurnEnd

ERROR = {"type": "result", "subtype": "success", "is_error": True, "result": "words"}


@pytest.mark.parametrize(
    ("result", "error", "cause"),
    [
        ({"terminal_reason": "aborted_streaming"}, "", "stopped"),
        ({"terminal_reason": "aborted_tools"}, "", "stopped"),
        ({"subtype": "error_max_turns"}, "", "max_turns"),
        ({"terminal_reason": "prompt_too_long", "api_error_status": 400}, "", "prompt_too_long"),
        ({"terminal_reason": "blocking_limit"}, "", "prompt_too_long"),
        ({"stop_reason": "refusal"}, "", "refused"),
        ({"api_error_status": 401}, "authentication_failed", "auth"),
        ({"api_error_status": 403}, "authentication_failed", "auth"),
        ({}, "authentication_failed", "auth"),  # not logged in: the API was not asked
        ({"api_error_status": 429}, "rate_limit", "rate_limit"),
        ({"api_error_status": 529}, "server_error", "overloaded"),
        ({"api_error_status": 500}, "server_error", "server_error"),
        ({"api_error_status": None}, "unknown", "server_error"),  # nobody answered
        ({"api_error_status": 400}, "unknown", "invalid_request"),
        ({"api_error_status": 400}, "billing_error", "billing"),
        ({"api_error_status": 404}, "model_not_found", "model_error"),
        ({"api_error_status": 413}, "", "invalid_request"),
        ({"subtype": "error_during_execution"}, "", "model_error"),
    ],
)
def test_causes_come_from_fields(result: dict[str, Any], error: str, cause: str) -> None:
    verdict = of_result({**ERROR, **result}, Evidence(error), 0.0)
    assert (verdict.outcome, verdict.cause) == ("failed", cause)
    assert verdict.counted == (cause in COUNTED)


@given(st.text())
def test_words_never_decide(text: str) -> None:
    fine = {"type": "result", "subtype": "success", "is_error": False, "result": text}
    assert of_result(fine, Evidence(), 0.0).outcome == "ok"


JSON = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)
KEYS = ["subtype", "is_error", "terminal_reason", "api_error_status", "result", "errors", "usage"]


@given(st.dictionaries(st.sampled_from([*KEYS, "total_cost_usd", "duration_ms"]), JSON))
def test_any_result_gives_a_valid_terminal_event(result: dict[str, Any]) -> None:
    verdict = of_result({"type": "result", **result}, Evidence(), 0.0)
    end = TurnEnd.model_validate(verdict.as_turn_end("7.2", None))
    assert end.outcome in ("ok", "failed")


def test_claims_beyond_all_bounds_are_cut_to_what_the_broker_takes() -> None:
    huge = 1 << 2000
    usage = dict.fromkeys(("input_tokens", "output_tokens"), huge)
    watch = TurnWatch()
    limit = {"status": "rejected", "resetsAt": huge}
    watch.feed({"type": "rate_limit_event", "rate_limit_info": limit})
    failed = {"type": "result", "is_error": True, "api_error_status": 429}
    watch.feed({**failed, "duration_ms": huge, "usage": usage, "total_cost_usd": huge})
    assert watch.verdict is not None
    verdict = replace(watch.verdict, context=huge, window=huge)
    verdict = verdict.with_owed(1e9, verdict.usage)
    assert TurnEnd.model_validate(verdict.as_turn_end("7.2", None)).cause == "rate_limit"


VALUES = st.recursive(
    JSON,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
TYPES = st.sampled_from(["assistant", "user", "system", "result", "rate_limit_event"]) | VALUES


EVENTS = st.fixed_dictionaries(
    {"type": TYPES}, optional=dict.fromkeys(("message", "subtype", "error", "origin"), VALUES)
)


@given(st.lists(EVENTS, max_size=4))
def test_no_stream_breaks_the_watch(events: list[dict[str, Any]]) -> None:
    watch = TurnWatch()
    for event in events:
        watch.feed(event)
    if watch.verdict is not None:
        TurnEnd.model_validate(watch.verdict.as_turn_end("7.2", None))


def test_the_cost_of_a_turn_in_both_versions() -> None:
    fine = {"type": "result", "subtype": "success", "is_error": False, "total_cost_usd": 5.0}
    assert of_result(fine, Evidence(), 3.5).cost_usd == 1.5
    models = {"a": {"costUSD": 0.25}, "b": {"costUSD": 0.5}}
    newer = {**fine, "model_usage_since_last_result": models}
    assert of_result(newer, Evidence(), 3.5).cost_usd == 0.75
    reset = {**fine, "total_cost_usd": 1.0}
    assert of_result(reset, Evidence(), 3.5).cost_usd == 0.0


def test_a_rejected_limit_says_until_when() -> None:
    watch = TurnWatch()
    info = {"status": "rejected", "resetsAt": 1234.0}
    watch.feed({"type": "rate_limit_event", "rate_limit_info": info})
    watch.feed({"type": "assistant", "error": "rate_limit", "message": {"content": []}})
    watch.feed({**ERROR, "api_error_status": 429})
    assert watch.verdict is not None
    assert (watch.verdict.cause, watch.verdict.retry_at) == ("rate_limit", 1234.0)
    assert Doing().turn_ended(watch.verdict).badge == Badge("rate-limited", "words", 1234.0)


def test_a_turn_that_nobody_asked_for_is_not_ours() -> None:
    watch = TurnWatch()
    watch.feed({**ERROR, "origin": {"kind": "task-notification"}})
    assert watch.verdict is None


def test_tools_that_run_are_known() -> None:
    watch = TurnWatch()
    use = {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}
    watch.feed({"type": "assistant", "message": {"content": [use]}})
    assert watch.tool_runs
    done = {"type": "tool_result", "tool_use_id": "t", "content": ""}
    watch.feed({"type": "user", "message": {"content": [done]}})
    assert not watch.tool_runs


def test_hopeless_retries_are_recognised() -> None:
    watch = TurnWatch()
    watch.feed({"type": "system", "subtype": "api_retry", "error": "authentication_failed"})
    assert watch.give_up is not None
    watch.feed({**ERROR, "terminal_reason": "aborted_streaming"})
    assert watch.verdict is not None
    assert watch.verdict.cause == "auth"
