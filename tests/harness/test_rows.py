from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hive_harness.outbox import MAX_BATCH, Outbox
from hive_harness.rows import MAX_ROW, Row, of_event, size
from hive_wire.frames import decode, encode
from hive_wire.protocol import StreamRow

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["type", "subtype", "message", "event", "x"]), JSON))
def test_no_line_of_the_engine_breaks_the_parser(event: dict[str, Any]) -> None:
    for number, row in enumerate(of_event(event), 1):
        whole = StreamRow(n=number, turn="1.1", kind=row.kind, data=row.data, at=1.0)
        assert decode(encode(whole.model_dump()))


@given(
    st.sampled_from(["text", "thinking", "tool_use", "tool_result", "other"]),
    st.integers(0, 400_000),
    st.sampled_from(["a", "ä", "\U0001f41d", "\ud800", "\x00", '"']),
)
def test_every_row_fits(kind: str, length: int, letter: str) -> None:
    text = letter * length
    block = {
        "text": {"type": "text", "text": text},
        "thinking": {"type": "thinking", "thinking": text},
        "tool_use": {"type": "tool_use", "id": "t", "name": "Bash", "input": {"a": [text, text]}},
        "tool_result": {"type": "tool_result", "tool_use_id": "t", "content": text},
        "other": {"type": "other", text[:99]: text},
    }[kind]
    message = {"content": [block]}
    event = {"type": "user" if kind == "tool_result" else "assistant", "message": message}
    for row in of_event(event):
        assert size(row.data) <= MAX_ROW
        json.dumps(row.data, ensure_ascii=False).encode()


def test_what_is_cut_says_so() -> None:
    event = {"type": "assistant", "message": {"content": [{"type": "text", "text": "x" * 99_999}]}}
    (row,) = of_event(event)
    assert "more characters)" in row.data["text"]


def test_the_rows_of_a_turn() -> None:
    def rows(**event: Any) -> list[Row]:
        return list(of_event(event))

    use = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
    assert rows(type="assistant", message={"content": [use]}) == [
        Row("tool_use", {"id": "t1", "name": "Bash", "input": {"command": "ls"}})
    ]
    blocks = [{"type": "text", "text": "a"}, {"type": "image"}]
    result = {"type": "tool_result", "tool_use_id": "t1", "content": blocks, "is_error": True}
    assert rows(type="user", message={"content": [result]}) == [
        Row("tool_result", {"id": "t1", "ok": False, "text": "a\n[image]"})
    ]
    assert rows(type="stream_event", event={}) == []
    assert rows(type="system", subtype="status", status="requesting") == []
    assert rows(type="brand_new", x=1) == [Row("engine", {"type": "brand_new", "x": 1})]


def _batch_rows(outbox: Outbox) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while batch := outbox.batch():
        rows += batch
    return rows


@given(st.lists(st.sampled_from(["add", "send", "ack", "drop"]), max_size=60), st.data())
def test_the_broker_gets_every_row_once_and_in_order(steps: list[str], data: st.DataObject) -> None:
    """A connection that is dropped at any point, and a broker that drops what it has."""
    outbox, stored, sent, added = Outbox(), [0], [], 0
    for step in [*steps, "drop", *["send"] * 60, "ack"]:
        if step == "add":
            added += 1
            outbox.add(Row("text", {"text": str(added)}), None, 1.0)
        elif step == "send":
            sent += [row["n"] for row in outbox.batch()]
        elif step == "ack":
            stored += [n for n in sent if n > stored[-1]]
            outbox.acknowledge(stored[-1])
        else:
            arrived = data.draw(st.integers(0, len(sent)))
            stored += [n for n in sent[:arrived] if n > stored[-1]]
            sent = []
            outbox.reconnected(stored[-1])
    assert stored == list(range(added + 1))


def test_a_long_absence_costs_the_cheap_rows_first_and_says_so() -> None:
    outbox = Outbox(limit=10_000)
    for number in range(300):
        kind = "engine" if number % 2 else "text"
        outbox.add(Row(kind, {"text": "x" * 50}), "1.1", 1.0)
    rows = _batch_rows(outbox)
    gaps = [row for row in rows if row["kind"] == "gap"]
    assert len(gaps) == 1
    assert gaps[0]["data"]["lost"] == 300 - (len(rows) - 1)
    assert sum(size(row) for row in rows) <= 11_000
    assert [row["n"] for row in rows] == sorted(row["n"] for row in rows)
    outbox.acknowledge(rows[-1]["n"])
    assert _batch_rows(outbox) == []


def test_batches_are_bounded() -> None:
    outbox = Outbox()
    for _ in range(40):
        outbox.add(Row("text", {"text": "x" * 60_000}), None, 1.0)
    sizes = []
    while batch := outbox.batch():
        sizes.append(sum(size(row) for row in batch))
        outbox.acknowledge(batch[0]["n"])  # rows come and go between the calls
        outbox.add(Row("text", {"text": "y"}), None, 1.0) if len(sizes) < 5 else None
    assert len(sizes) > 5
    assert all(weight <= MAX_BATCH for weight in sizes)
