"""Rules, meter and ledger: the parts without I/O."""

from __future__ import annotations

import itertools
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy
from support.gateway_rig import sse

from hive_gateway.credentials import Credential
from hive_gateway.ledger import Ledger
from hive_gateway.meter import MAX_LINE, JsonMeter, StreamMeter, meter_for
from hive_gateway.prices import usd
from hive_gateway.rules import allowed, request_headers, response_headers, retry_at
from hive_gateway.seldom import EVERY, Seldom
from hive_wire.protocol import Usage

TOKENS = st.integers(0, 1 << 40)
STREAM = (
    sse("message_start", message={"usage": {"input_tokens": 4, "output_tokens": 1}})
    + sse("ping")
    + sse("content_block_delta", delta={"text": 'é\n "usage" {"type":"message_delta"}'})
    + b'data: {"type":"message_delta","usage":"none"}\r\n\r\n'
    + b"data: [1, 2\n\n"
    + b'data:{"type":"message_delta","usage":{"output_tokens":33,"input_tokens":null}}\r\n\r\n'
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=30))
def test_a_stream_reads_the_same_however_it_is_cut(cuts: list[int]) -> None:
    meter = StreamMeter()
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        meter.feed(STREAM[start:end])
    assert meter.usage() == Usage(input_tokens=4, output_tokens=33)


def test_who_leaves_before_the_totals_pays_for_what_came() -> None:
    meter = StreamMeter()
    meter.feed(sse("message_start", message={"usage": {"input_tokens": 4, "output_tokens": 1}}))
    for _ in range(10):
        meter.feed(sse("content_block_delta", index=0, delta={"text": "x" * 400}))
    usage = meter.usage()
    assert usage is not None
    assert 900 < usage.output_tokens < 1100
    meter.feed(sse("message_delta", usage={"output_tokens": 777}))
    assert meter.usage() == Usage(input_tokens=4, output_tokens=777)
    meter.feed(sse("content_block_delta", index=0, delta={"text": ""}))
    assert meter.usage() == Usage(input_tokens=4, output_tokens=778)


def test_what_an_agent_provokes_is_logged_seldom(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    say = Seldom(logging.getLogger("test"), lambda: now)
    for _ in range(1000):
        say.warning("a", "%s is unreachable", "it")
        say.warning("b", "%s is unreachable", "it")
    now = EVERY
    say.warning("a", "%s is unreachable", "it")
    assert [record.getMessage() for record in caplog.records] == [
        "a: it is unreachable",
        "b: it is unreachable",
        "a: it is unreachable (and 999 times before)",
    ]


@given(st.binary(max_size=2000))
def test_no_bytes_break_a_meter(data: bytes) -> None:
    for meter in (StreamMeter(), JsonMeter()):
        meter.feed(data)
        meter.usage()


def test_an_endless_line_is_passed_over() -> None:
    meter = StreamMeter()
    meter.feed(b'data: {"usage"')
    for _ in range(40):
        meter.feed(bytes(MAX_LINE // 10))
    meter.feed(b"\n" + STREAM)
    assert meter.usage() == Usage(input_tokens=4, output_tokens=33)


@pytest.mark.parametrize("count", [-1, 1 << 70, "5", None, 1.5, [1]])
def test_nonsense_counts_are_left_out(count: object) -> None:
    meter = JsonMeter()
    meter.feed(json.dumps({"usage": {"input_tokens": count, "output_tokens": 2}}).encode())
    assert meter.usage() == Usage(output_tokens=2)


def test_only_answered_messages_are_metered() -> None:
    assert isinstance(meter_for("/v1/messages?beta=true", 200, "text/event-stream"), StreamMeter)
    assert isinstance(meter_for("/v1/messages", 200, "application/json"), JsonMeter)
    assert meter_for("/v1/messages", 429, "application/json") is None
    assert meter_for("/v1/messages/count_tokens", 200, "application/json") is None


@given(st.text(max_size=60))
def test_no_path_leaves_v1(path: str) -> None:
    for target in (path, f"/v1/{path}", f"/v1/models/{path}", f"/v1/messages{path}"):
        for method in ("GET", "POST", "HEAD"):
            if allowed(method, target):
                bare = target.partition("?")[0]
                assert bare == "/" or bare.startswith(("/v1/messages", "/v1/models"))
                assert ".." not in bare.split("/")
                assert "%" not in bare
                assert target.isascii()
                assert target.isprintable()


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["Authorization", "X-API-KEY", "cookie", "Connection", "x-a", "anthropic-beta", "Host"]
        ),
        st.sampled_from(["x", "x-a, close", "Bearer theirs", "x-api-key"]),
    ),
    max_size=12,
)


@given(HEADERS, st.sampled_from([None, "api-key", "oauth"]))
def test_only_our_credential_leaves(pairs: list[tuple[str, str]], kind: object) -> None:
    credential = Credential(kind, "ours") if kind else None  # type: ignore[arg-type]
    sent = request_headers(CIMultiDictProxy(CIMultiDict(pairs)), credential)
    expected = {"api-key": ["ours"], "oauth": ["Bearer ours"], None: []}[kind]  # type: ignore[index]
    assert sent.getall("x-api-key", []) + sent.getall("authorization", []) == expected
    assert not {"cookie", "host", "connection"} & {name.lower() for name in sent}
    if kind == "oauth":
        assert sent.getall("anthropic-beta")[-1].split(",")[-1] == "oauth-2025-04-20"


def test_a_response_keeps_all_but_its_connection() -> None:
    given_headers = CIMultiDict(
        [("Connection", "close, x-a"), ("X-A", "1"), ("Set-Cookie", "a"), ("Retry-After", "3")]
    )
    kept = response_headers(CIMultiDictProxy(given_headers))
    assert dict(kept) == {"Retry-After": "3"}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["a" * 12, "b" * 12]), TOKENS),
            st.sampled_from(["send", "lose", "restart"]),
        )
    )
)
def test_the_ledger_neither_loses_nor_doubles(steps: list[object]) -> None:
    ledger, sent, total, clock = Ledger(), {}, 0, 0.0
    for step in steps:
        clock += 1
        if isinstance(step, tuple):
            uid, tokens = step
            ledger.add(uid, Usage(output_tokens=tokens), tokens / 2)
            total += tokens
        elif step == "restart":
            ledger = Ledger.parse(ledger.encode())
        else:
            for report in ledger.seal(clock):
                sent[report.uid, report.at] = report  # what a broker stores, by its key
                if step == "send":
                    ledger.confirm(report)
    for last in range(2):
        for report in ledger.seal(clock + 1 + last):
            sent[report.uid, report.at] = report
            ledger.confirm(report)
    assert sum(report.usage.output_tokens for report in sent.values()) == total
    assert not ledger


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("claude-sonnet-5", 3 + 15 + 0.3 + 3.75),
        ("claude-opus-4-5-20251101", 5 + 25 + 0.5 + 6.25),
        ("claude-opus-4-1-20250805", 15 + 75 + 1.5 + 18.75),
        ("claude-haiku-4-5", 1 + 5 + 0.1 + 1.25),
        ("who knows", 5 + 25 + 0.5 + 6.25),
    ],
)
def test_tokens_cost_what_their_model_costs(model: str, dollars: float) -> None:
    million = 1_000_000
    usage = Usage(
        input_tokens=million,
        output_tokens=million,
        cache_read_tokens=million,
        cache_write_tokens=million,
    )
    assert usd(model, usage) == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("headers", "until"),
    [
        ({"anthropic-ratelimit-unified-reset": "1500", "retry-after": "7"}, 1500),
        ({"retry-after": "7"}, 1007),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"anthropic-ratelimit-unified-reset": "999"}, None),
        ({"retry-after": "99999999"}, None),
        ({}, None),
    ],
)
def test_when_a_limit_ends(headers: dict[str, str], until: float | None) -> None:
    assert retry_at(CIMultiDictProxy(CIMultiDict(headers)), 1000.0) == until
