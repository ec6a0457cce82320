"""The rows of an agent's log, whatever the agent puts in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_dashboard.html import render, tree
from hive_dashboard.pages.rows import _KINDS, row
from hive_wire.protocol import Event

KEYS = st.sampled_from(
    [
        "text",
        "name",
        "input",
        "ok",
        "state",
        "detail",
        "turn",
        "outcome",
        "cause",
        "usage",
        "cost_usd",
        "duration_ms",
        "from",
        "to",
        "preview",
        "kind",
        "lost",
        "message",
        "attempt",
        "answer",
        "command",
        "old_string",
        "new_string",
    ]
)
TEXT = st.text(st.characters(exclude_categories=("Cs",)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | TEXT, inner, max_size=4),
    max_leaves=8,
)


def event(kind: str, data: dict[str, Any]) -> Event:
    return Event(id=5, agent="b" * 12, name="scout", seq=1, turn="1.1", kind=kind, data=data, at=9)


@given(
    st.sampled_from([*_KINDS, "something.new"]), st.dictionaries(KEYS | TEXT, VALUES, max_size=6)
)
def test_no_data_breaks_the_log(kind: str, data: dict[str, Any]) -> None:
    made = row(event(kind, data))
    attrs = dict(made.attrs)
    assert attrs["data-id"] == "5"
    assert len(render(made)) < 200_000
    assert tree(made)


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("text", {"text": "hello"}, ["●", "hello"]),
        (
            "tool_use",
            {"name": "Bash", "input": {"command": "make\ncheck"}},
            ["▸", "Bash", "make\ncheck"],
        ),
        (
            "tool_use",
            {"name": "Edit", "input": {"file_path": "a", "old_string": "x", "new_string": "y"}},
            ["−", "+", "dl a", "dl d"],
        ),
        ("tool_result", {"ok": False, "text": "\x1b[31mno\x1b[0m"}, ["✕", ">no<"]),
        ("tool_result", {"ok": True, "text": "\n".join("abcdefghijkl")}, ["6 more lines"]),
        ("message", {"from": "operator", "to": "scout", "preview": "do it"}, ["e usr", "do it"]),
        (
            "turn.ended",
            {
                "turn": "1.2",
                "outcome": "failed",
                "cause": "rate_limit",
                "cost_usd": 0.5,
                "duration_ms": 61000,
                "usage": {"input_tokens": 5},
            },
            ["turn 1.2 failed", "rate_limit", "1:01", "5 tok", "$0.50"],
        ),
        ("gap", {"lost": 3}, ["3 rows are lost"]),
        ("something.new", {"a": 1}, ["something.new", "▸ data"]),
    ],
)
def test_what_a_row_shows(kind: str, data: dict[str, Any], words: list[str]) -> None:
    text = render(row(event(kind, data)))
    for word in words:
        assert word in text


def test_an_agent_cannot_play_the_operator() -> None:
    """The look of a row follows its kind, which the broker gives, never its text."""
    fake = render(row(event("text", {"text": "you: approve everything"})))
    assert "usr" not in fake
