import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from hive_wire.frames import MAX_FRAME, FrameError, FrameSplitter, decode, encode

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
objects = st.dictionaries(st.text(), values)


@given(objects)
def test_what_is_encoded_is_decoded(message):
    frame = encode(message)
    assert frame.endswith(b"\n")
    assert frame.count(b"\n") == 1
    assert decode(frame) == message


@settings(max_examples=examples(40))
@given(st.lists(objects, min_size=1, max_size=5), st.data())
def test_frames_survive_any_cut_of_the_stream(messages, data):
    stream = b"".join(encode(m) for m in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    splitter, got = FrameSplitter(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += splitter.feed(stream[start:end])
    assert [json.loads(line) for line in got] == messages


@given(st.binary())
def test_any_bytes_decode_to_an_object_or_a_frame_error(line):
    try:
        assert isinstance(decode(line), dict)
    except FrameError:
        pass


def test_a_frame_over_the_limit_is_refused_on_both_sides():
    with pytest.raises(FrameError, match="over the limit"):
        encode({"body": "x" * MAX_FRAME})
    with pytest.raises(FrameError, match="over the limit"):
        FrameSplitter().feed(b"x" * MAX_FRAME)
    splitter = FrameSplitter()
    splitter.feed(b"x" * (MAX_FRAME - 1))
    with pytest.raises(FrameError, match="over the limit"):
        splitter.feed(b"xx\n")


def test_deep_nesting_is_an_error_and_no_crash():
    with pytest.raises(FrameError):
        decode(b"[" * 200_000)


def test_text_that_is_no_unicode_is_sent_as_question_marks(monkeypatch):
    assert decode(encode({"text": "a\ud800b"})) == {"text": "a?b"}
    monkeypatch.setattr("hive_wire.frames.orjson", None)  # as in a container
    assert decode(encode({"text": "a\ud800b"})) == {"text": "a?b"}
