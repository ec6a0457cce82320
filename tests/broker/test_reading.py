"""What is read from the store: pages, one agent's history, beside each other."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.broker_store import A, B, Store, message

from hive_broker.store.database import APPLICATION_ID, open_for_writing
from hive_broker.store.events import last_of_each
from hive_broker.store.reader import Reader, Span
from hive_broker.store.rows import NewEvent, StoredEvent, Unit
from hive_broker.store.teaching import FUNCTIONS
from hive_wire.pages import ROOM

V1 = Path(__file__).with_name("schema_v1.sql")


async def test_pages_go_both_ways_and_fit_a_frame(tmp_path):
    store = await Store.open(tmp_path / "broker.db")
    await asyncio.gather(
        *(store.writer.submit(Unit((message(n, B, body="x" * 200_000),))) for n in range(1, 8))
    )
    reader = await Reader.open(tmp_path / "broker.db")
    try:
        newest = await reader.messages(None, Span(100))
        assert [m["id"] for m in newest] == [5, 6, 7]
        assert sum(len(m["body"]) for m in newest) <= ROOM
        older = await reader.messages("bob", Span(2, before=5))
        assert [m["id"] for m in older] == [3, 4]
        on = await reader.messages(None, Span(2, after=2))
        assert [m["id"] for m in on] == [3, 4]
        assert await reader.messages("nobody", Span(5)) == []
    finally:
        await reader.close()
        await store.writer.close()


@pytest.mark.parametrize(
    "look",
    [lambda r: r.messages("bob", Span(5)), lambda r: r.events(B, Span(5), kinds=["message"])],
    ids=["of a peer", "of some kinds"],
)
async def test_a_look_at_all_there_is_keeps_no_other_read_waiting(tmp_path, monkeypatch, look):
    """Where few rows are wanted, it goes over all of them."""
    store = await Store.open(tmp_path / "broker.db")
    await store.writer.submit(Unit((message(1, B),)))
    await store.writer.close()
    looking, go = threading.Event(), threading.Event()

    def slow(sound: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*values: Any) -> Any:
            looking.set()
            go.wait(20)
            return sound(*values)

        return wait

    for place in ("teaching", "reader"):
        functions = [(name, arguments, slow(sound)) for name, arguments, sound in FUNCTIONS]
        monkeypatch.setattr(f"hive_broker.store.{place}.FUNCTIONS", functions)
    reader = await Reader.open(store.path)
    try:
        found = asyncio.create_task(look(reader))
        assert await asyncio.to_thread(looking.wait, 20)
        async with asyncio.timeout(10):
            assert await reader.sender(1) == A
        assert not found.done()
        go.set()
        assert len(await found) == 1
    finally:
        go.set()
        await reader.close()


async def test_one_agents_history_goes_both_ways_over_the_mark(tmp_path, monkeypatch):
    """Of what `event_agent` holds and of what is not filed yet."""
    monkeypatch.setattr("hive_broker.store.tables.FILE_AT", 50)
    store = await Store.open(tmp_path / "broker.db")
    for n in range(1, 41):
        events = (NewEvent(A, "x", {"n": n}, 1.0), NewEvent(None, "y", {}, 1.0))
        await store.writer.submit(Unit((message(n, B, body=f"body {n}"),), events))
    [(mark,)] = await store.rows("select v from meta where k='filed'")
    assert 50 <= mark < 120
    reader = await Reader.open(tmp_path / "broker.db")
    try:
        for uid in (A, B):
            mine = [e for e in store.events if e.agent == uid]
            forward = await pages(
                reader, uid, lambda found: Span(7, after=found[-1].id if found else 0)
            )
            assert [(e.id, e.seq, e.data) for e in forward] == [(e.id, e.seq, e.data) for e in mine]
            newest = await reader.events(uid, Span(30))
            assert [e.id for e in newest] == [e.id for e in mine[-30:]]
            older = await reader.events(uid, Span(30, before=newest[0].id))
            assert [e.id for e in older] == [e.id for e in mine[:10]]
        found = await reader.events(B, Span(3, before=mark), kinds=["message"])
        assert all(e.data["preview"].startswith("body") for e in found)
        assert await reader.events(B, Span(3), kinds=["x"]) == []
        assert len(await reader.events(None, Span(1000))) == 120
    finally:
        await reader.close()
        await store.writer.close()
    last = {e.agent: (e.id, e.seq) for e in store.events}
    known = f"insert into agent(uid, name, record) values('{A}', 'a', ''), ('{B}', 'b', '')"
    assert await asyncio.to_thread(found_last, tmp_path / "broker.db", known) == last


def found_last(path: Path, before: str = "") -> dict[str | None, tuple[int, int]]:
    db = sqlite3.connect(path)
    try:
        db.executescript(before)
        return last_of_each(db)
    finally:
        db.close()


async def pages(
    reader: Reader, uid: str, span: Callable[[list[StoredEvent]], Span]
) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    while page := await reader.events(uid, span(found)):
        found += page
    return found


async def test_the_history_of_an_older_database_is_all_there(tmp_path):
    path = tmp_path / "broker.db"
    rows = [(1, A, 1), (2, B, 1), (3, None, 1), (4, A, 2)]
    await asyncio.to_thread(old_history, path, rows)
    assert await asyncio.to_thread(found_last, path) == {A: (4, 2), B: (2, 1), None: (3, 1)}
    reader = await Reader.open(path)
    try:
        mine = await reader.events(A, Span(10))
        said = {"preview": "hi"}
        assert [(e.id, e.seq, e.data) for e in mine] == [(1, 1, said), (4, 2, said)]
        assert [e.id for e in await reader.events(None, Span(10))] == [1, 2, 3, 4]
    finally:
        await reader.close()


def old_history(path: Path, rows: list[tuple[int, str | None, int]]) -> None:
    """A database of the first version with these events, brought up to date."""
    old = sqlite3.connect(path)
    old.executescript(
        f"{V1.read_text()}; pragma application_id={APPLICATION_ID}; pragma user_version=1;"
        f" insert into agent(uid, name, record) values('{A}', 'a', '{{}}'), ('{B}', 'b', '{{}}');"
    )
    old.executemany(
        "insert into event(id, agent, seq, kind, stream, data, at)"
        " values(?, ?, ?, 'message', 0, '{\"preview\":\"hi\"}', 1.0)",
        rows,
    )
    old.commit()
    old.close()
    open_for_writing(path).close()
    kept = sqlite3.connect(path.with_name("broker.db.v1"))
    assert kept.execute("select id, agent, seq from event").fetchall() == rows
    kept.close()
