"""Looking for words in the history, folded bursts, figures."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.broker_rig import agent, connected, rig, until

from hive_broker.core.folding import BYTES, MOST_FOLDED, Folder, Row, joined
from hive_broker.server import serving
from hive_broker.store.database import open_for_writing
from hive_broker.store.search import Wanted, search
from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def row(n: int, text: str, kind: str = "text") -> dict:
    return {"n": n, "turn": "1.1", "kind": kind, "data": {"text": text}, "at": 1.0}


async def test_words_are_found_as_they_stand(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout, cook = await hive.harness(A), await hive.harness(B)
        texts = ['100% "sure"', "C:\\temp_x", "Größe 5", "a%b", "axb", "sure of 100", "text"]
        await scout.ask("stream", rows=[row(n, text) for n, text in enumerate(texts, 1)])
        await cook.ask("stream", rows=[row(1, "SURE")])

        async def texts_of(query: str, who: str | None = "scout", **more: object) -> list[str]:
            found = await hive.ask("search_events", agent=who, query=query, **more)
            assert found["more"] is False
            return [e["data"]["text"] for e in found["events"] if "text" in e["data"]]

        assert await texts_of('"sure"') == ['100% "sure"']
        assert await texts_of("sure 100") == ['100% "sure"', "sure of 100"]
        assert await texts_of("SURE", None) == ['100% "sure"', "sure of 100", "SURE"]
        assert await texts_of("a%b") == ["a%b"]
        assert await texts_of("temp_x") == ["C:\\temp_x"]
        assert await texts_of("\\temp") == ["C:\\temp_x"]
        assert await texts_of("größe") == ["Größe 5"]
        assert await texts_of("text") == ["text"]  # not every row with that key
        assert await texts_of("' or 1=1 --") == []
        assert await texts_of("sure", kinds=["stderr"]) == []
        with pytest.raises(RpcError, match="at least one word"):
            await hive.ask("search_events", agent="scout", query="  ")
        with pytest.raises(RpcError, match="did you mean scout"):
            await hive.ask("search_events", agent="scot", query="x")


async def test_pages_go_back_by_the_cursor(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await scout.ask("stream", rows=[row(n, f"needle {n}") for n in range(1, 31)])
        found, before = [], None
        while True:
            more = {} if before is None else {"before": before}
            page = await hive.ask("search_events", agent=A, query="needle", limit=7, **more)
            found = [e["data"]["text"] for e in page["events"]] + found
            before = page["cursor"]
            if not page["more"]:
                break
        assert found == [f"needle {n}" for n in range(1, 31)]


def test_a_look_ends_in_time_and_the_next_goes_on(tmp_path):
    path = tmp_path / "broker.db"
    db = open_for_writing(path)
    db.execute("begin")
    db.executemany(
        "insert into event values(?, ?, ?, null, 'text', 1, ?, 1.0, null)",
        ((n, A, n, '{"text":"needle"}' if n == 5 else '{"text":"hay"}') for n in range(1, 100_001)),
    )
    db.execute("commit")
    db.close()
    before, looks = 100_001, 0
    while True:
        found = search(path, Wanted(("needle",), A, None, before, 10), seconds=0.0)
        looks += 1
        if found.events or not found.cursor:
            break
        before = found.cursor
    assert [e.id for e in found.events] == [5]
    assert looks == 5


# -- bursts ------------------------------------------------------------------------

lines = st.builds(
    Row,
    kind=st.sampled_from(("stderr", "text", "tool_result")),
    data=st.builds(lambda text: {"text": text}, st.text(max_size=30)),
    turn=st.sampled_from((None, "1.1", "2.1")),
    at=st.just(1.0),
)


@given(st.lists(lines, max_size=60))
def test_joining_loses_no_word_and_no_order(rows):
    found = joined(rows)
    assert "\n".join(r.data["text"] for r in found) == "\n".join(r.data["text"] for r in rows)
    assert [r for r in found if r.kind != "stderr"] == [r for r in rows if r.kind != "stderr"]
    for one, other in itertools.pairwise(found):
        assert (one.kind, other.kind) != ("stderr", "stderr") or one.turn != other.turn


def test_a_burst_is_cut_and_says_so_and_quiet_times_bring_it_back():
    folder = Folder(0.0, lambda data: sum(len(str(v)) for v in data.values()))
    big = Row("tool_result", {"id": "t", "ok": True, "text": "x" * 60_000, "list": [1]}, "1.1", 1.0)
    found = [folder.fold([big], 0.0)[0] for _ in range(200)]
    whole = [r for r in found if "folded" not in r.data]
    assert len(whole) == int(BYTES) // 60_000
    cut = found[-1].data
    assert cut["text"] == "x" * 200 + "…"
    assert (cut["id"], cut["ok"], cut["list"]) == ("t", True, "…")
    assert cut["folded"] > 60_000
    assert "folded" not in folder.fold([big], 60.0)[0].data


def test_what_is_folded_is_short_whatever_it_was():
    folder = Folder(0.0, lambda data: len(json.dumps(data)))
    odd = Row("tool_use", {f"{n}" + "\0" * 300: "\0" * 300 for n in range(30)}, None, 1.0)
    sizes = [len(json.dumps(row.data)) for row in folder.fold([odd] * 300, 0.0)]
    assert sizes[0] > 100_000
    assert sizes[-1] < MOST_FOLDED


async def test_a_flood_of_output_does_not_fill_the_disk(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await scout.ask("stream", rows=[row(n, f"l{n}", "stderr") for n in range(1, 101)])
        newest = (await hive.ask("events", uid=A, limit=1))["events"]
        assert newest[0]["data"]["text"].endswith("l99\nl100")
        for n in range(25, 125):
            flood = [row(4 * n + k, "x" * 60_000, "tool_result") for k in range(1, 5)]
            await scout.ask("stream", rows=flood)
        rows = (await hive.ask("events", uid=A, kinds=["tool_result"], limit=200))["events"]
        assert any(one["data"].get("folded", 0) > 60_000 for one in rows)
        await hive.stop()
        size = (hive.layout.broker / "broker.db").stat().st_size
        assert size < 16 << 20  # of 24 MB that were sent


# -- subscribers and figures -------------------------------------------------------


async def test_a_subscriber_that_never_reads_is_dropped_and_resumes(tmp_path):
    layout = Layout.of(tmp_path)
    layout.agent_run(A).mkdir(parents=True)
    async with serving(layout) as app:
        app.broker.history._stalled = 0.2
        host = await connected(layout.broker_sock)
        await host.request("registry.set", {"agents": [agent(A, "scout")]}, timeout=10)
        _, writer = await asyncio.open_unix_connection(layout.broker_sock, limit=1 << 12)
        ask = b'{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"after":0,"stream":true}}\n'
        writer.write(ask)
        for _ in range(30):
            send = {"to": "scout", "body": "x" * 250_000, "by": "ann"}
            await host.request("send", send, timeout=10)
            events = [app.broker.event(A, "text", {"text": "x" * 100_000}) for _ in range(4)]
            app.broker.record(*events)
        await until(lambda: app.broker.history.dropped == 1, "it is dropped")
        writer.close()
        last = app.broker.history.last
        got: list[int] = []
        again = await connected(
            layout.broker_sock,
            {"events": lambda _, params: got.extend(e["id"] for e in params["events"])},
        )
        await again.request("subscribe", {"after": 0, "stream": True}, timeout=10)
        await until(lambda: got and got[-1] >= last, "it resumes")
        assert got == list(range(1, got[-1] + 1))
        text = (await host.request("metrics", {}, timeout=10))["text"]
        assert "hive_broker_subscribers_dropped_total 1\n" in text
        for peer in (host, again):
            peer.close()


SAMPLE = re.compile(r'^[a-z_]+(\{[a-z]+="[^"\\]*"\})? -?[0-9.e+-]+$')


async def test_the_figures_are_prometheus_text(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        await hive.ask("send", to="scout", body="x", by="ann")
        await hive.harness(A)
        text = (await hive.ask("metrics"))["text"]
        assert text.endswith("\n")
        for line in text.splitlines():
            assert line.startswith(("# HELP hive_broker_", "# TYPE hive_broker_")) or SAMPLE.match(
                line
            ), line
        assert 'hive_broker_turn_running{agent="scout"} 1' in text
        assert 'hive_broker_queued_messages{agent="cook"} 0' in text
        assert "hive_broker_messages_total 1" in text
        assert text.count("# TYPE") == len(set(re.findall(r"# TYPE (\S+)", text)))


def test_search_reads_only(tmp_path):
    path = tmp_path / "broker.db"
    open_for_writing(path).close()
    before = path.read_bytes()
    search(path, Wanted(("x'; drop table event; --",), None, None, 10, 5))
    assert path.read_bytes() == before
    sqlite3.connect(path).close()
