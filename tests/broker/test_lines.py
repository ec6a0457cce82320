"""Lines that are too long are skipped; whoever waits for the answer is still found."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hive_broker.front.lines import END_BYTES, Lines, TooLong

LIMIT = 8192


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """Lines of all sizes, and the same bytes in arbitrary pieces."""
    lines = draw(
        st.lists(
            st.one_of(
                st.binary(max_size=50).map(lambda b: b.replace(b"\n", b"")),
                st.integers(LIMIT - 3, LIMIT + 3).map(lambda n: b"x" * n),
                st.integers(LIMIT * 2, LIMIT * 5).map(lambda n: b"y" * n),
            ),
            max_size=8,
        )
    )
    whole = b"".join(line + b"\n" for line in lines)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    return lines, [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(streams())
def test_any_cut_gives_the_same_lines(stream: tuple[list[bytes], list[bytes]]):
    lines, pieces = stream
    splitter = Lines(LIMIT)
    found = [line for piece in pieces for line in splitter.feed(piece)]
    assert len(found) == sum(1 for line in lines if line)
    for line, got in zip((line for line in lines if line), found, strict=True):
        if len(line) <= LIMIT:
            assert got == line
        else:
            assert isinstance(got, TooLong)
            assert got.size == len(line)
            assert got.head == line[:END_BYTES]
            assert got.tail == line[-END_BYTES:]


@given(st.one_of(st.integers(0, 10**9), st.text(max_size=30)), st.booleans(), st.text(max_size=50))
def test_the_request_is_found_in_front_and_behind(ident: int | str, first: bool, text: str):
    params = {"name": "send", "arguments": {"body": '"id": 7, ' * 2000 + text}}
    front = {"jsonrpc": "2.0", "id": ident, "method": "tools/call", "params": params}
    behind = {"method": "tools/call", "params": params, "jsonrpc": "2.0", "id": ident}
    line = json.dumps(front if first else behind, separators=(",", ":")).encode()
    [found] = Lines(LIMIT).feed(line + b"\n")
    assert isinstance(found, TooLong)
    assert found.request_id() == ident


def test_memory_stays_bounded():
    splitter = Lines(LIMIT)
    for _ in range(1000):
        assert splitter.feed(b"x" * 60_000) == []
        assert len(splitter._held) <= LIMIT + 60_000
    [found] = splitter.feed(b"\nnext")
    assert isinstance(found, TooLong)
    assert found.size == 60_000_000
    assert found.request_id() is None
    assert splitter.feed(b"\n") == [b"next"]
