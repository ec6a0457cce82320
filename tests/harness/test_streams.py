"""What both versions of the CLI print, recorded, through the parser: verdicts, rows, sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_harness.engine.pipes import MAX_LINE, Lines, LineTooLong
from hive_harness.engine.watch import TurnWatch
from hive_harness.rows import MAX_ROW, of_event, size

STREAMS = Path(__file__).parent / "streams"
VERSIONS = ["2.1.197", "2.1.330"]


def recorded(version: str, name: str) -> list[dict[str, Any]]:
    lines = (STREAMS / version / f"{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def turns(events: list[dict[str, Any]]) -> list[TurnWatch]:
    """A watch for each result, as the engine would have them."""
    watch, done, cost = TurnWatch(), list[TurnWatch](), 0.0
    for event in events:
        watch.cost_before = cost
        watch.feed(event)
        if watch.result is event:
            done.append(watch)
            cost, watch = float(event["total_cost_usd"]), TurnWatch()
    return done


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "outcome", "cause"),
    [
        ("tools", "ok", ""),
        ("auth", "failed", "auth"),
        ("limit", "failed", "rate_limit"),
        ("billing", "failed", "billing"),
        ("too-long", "failed", "prompt_too_long"),
        ("cancelled", "failed", "stopped"),
        ("overloaded-within", "ok", ""),
    ],
)
def test_how_a_recorded_turn_ended(version: str, name: str, outcome: str, cause: str) -> None:
    (watch,) = turns(recorded(version, name))
    assert watch.verdict is not None
    assert (watch.verdict.outcome, watch.verdict.cause) == (outcome, cause)
    assert watch.verdict.detail or outcome == "ok" or cause == "stopped"
    assert not watch.tool_runs or cause == "stopped"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_turn_that_the_engine_knows_is_told_from_one_that_it_works_on(version: str) -> None:
    events, watch = recorded(version, "known"), TurnWatch()
    over = next(n for n, event in enumerate(events) if event["type"] == "result")
    for event in events[:over]:
        watch.feed(event)
        assert not watch.passed_over
    anew = next(n for n in range(over, len(events)) if events[n]["type"].startswith("control_"))
    again = TurnWatch()
    for event in events[anew:]:
        if not event["type"].startswith("control_"):
            again.feed(event)
    assert again.passed_over
    assert again.verdict is None


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_turn_used(version: str) -> None:
    (watch,) = turns(recorded(version, "tools"))
    assert watch.verdict is not None
    used = watch.verdict.usage
    assert (used.input_tokens, used.output_tokens, used.cache_read_tokens) == (50, 50, 70)
    # USD per million: 1 for input, 5 for output, 0.1 for what the cache had.
    assert watch.verdict.cost_usd == pytest.approx((50 * 1 + 50 * 5 + 70 * 0.1) / 1e6)
    assert (watch.context, watch.window) == (10 + 40, 200_000)


@pytest.mark.parametrize("version", VERSIONS)
def test_costs_add_up_over_a_compaction(version: str) -> None:
    first, notes, compaction, last = turns(recorded(version, "compacted"))
    costs = [w.verdict.cost_usd for w in (first, notes, compaction, last) if w.verdict]
    assert costs[0] == pytest.approx((150_000 + 5 * 5) / 1e6)
    assert costs[1:] == pytest.approx([(10 + 5 * 5) / 1e6] * 3)
    assert compaction.compacted is not None
    assert 0 < compaction.compacted < 5000
    assert first.compacted is None


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_of_a_recorded_turn(version: str) -> None:
    rows = [row for event in recorded(version, "tools") for row in of_event(event)]
    said = [row for row in rows if row.kind != "engine"]
    assert [row.kind for row in said] == [
        *("thinking", "text", "tool_use", "tool_result"),
        *("tool_use", "tool_use", "tool_result", "tool_result", "text"),
    ]
    assert [row.data["name"] for row in said if row.kind == "tool_use"] == [
        *("Bash", "mcp__hive__send", "Write")
    ]
    assert "hello" in said[3].data["text"]


EVERYTHING = [path.relative_to(STREAMS) for path in sorted(STREAMS.rglob("*.jsonl"))]


@pytest.mark.parametrize("path", EVERYTHING, ids=str)
def test_every_recorded_line_makes_bounded_rows(path: Path) -> None:
    for event in map(json.loads, (STREAMS / path).read_text().splitlines()):
        for row in of_event(event):
            assert size(row.data) <= MAX_ROW


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.data())
def test_a_line_with_another_shape_breaks_nothing(data: st.DataObject) -> None:
    """Any value of any recorded line replaced by anything."""
    path = data.draw(st.sampled_from(EVERYTHING))
    events = recorded(path.parts[0], path.stem)
    event = data.draw(st.sampled_from(events))
    holder: Any = event
    while isinstance(holder, dict) and holder:
        key = data.draw(st.sampled_from(sorted(holder)))
        if not isinstance(holder[key], dict) or data.draw(st.booleans()):
            holder[key] = data.draw(ODD)
            break
        holder = holder[key]
    watch = TurnWatch()
    for each in events:
        watch.feed(each)
        list(of_event(each))


@given(st.lists(st.binary(min_size=1, max_size=9).filter(lambda b: b"\n" not in b)), st.data())
def test_lines_come_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    heard: list[bytes] = []
    reader = Lines(heard.append)
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:cut])
        stream = stream[cut:]
    assert heard == lines


def test_a_line_without_an_end_is_given_up() -> None:
    reader = Lines(lambda _: None)
    reader.feed(b"x" * MAX_LINE)
    with pytest.raises(LineTooLong):
        reader.feed(b"x")
    reader.feed(b"and on\n")
