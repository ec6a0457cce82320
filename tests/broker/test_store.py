"""The store alone: what it refuses, what a commit holds, what a crash leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hive_broker.store import changes
from hive_broker.store.ballast import Ballast
from hive_broker.store.database import APPLICATION_ID, DatabaseRefused, open_for_writing
from hive_broker.store.events import last_of_each
from hive_broker.store.highwater import HighWater
from hive_broker.store.migrations import MIGRATIONS
from hive_broker.store.reader import Reader, Span
from hive_broker.store.rows import NewEvent, NewMessage, StoredEvent, Unit
from hive_broker.store.teaching import FUNCTIONS
from hive_broker.store.writer import Writer
from hive_wire.pages import ROOM
from hive_wire.rpc_errors import RpcError

A, B = "a" * 12, "b" * 12
V1 = Path(__file__).with_name("schema_v1.sql")


def message(ident: int, *to: str, key: str | None = None, body: str = "hello") -> NewMessage:
    return NewMessage(
        id=ident, sender=A, sender_name="alice", to="bob", kind="text", body=body,
        thread=ident, at=1.0, recipients=to, key=key,
    )  # fmt: skip


class Store:
    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path, self.db = path, db
        self.events: list[StoredEvent] = []
        self.high = HighWater(path.with_name("highwater"))
        self.health = asyncio.Event()
        self.writer = Writer(
            db,
            last=self.high.marks,
            sequences={},
            high=self.high,
            ballast=Ballast(path.with_name("ballast")),
            on_events=self.events.extend,
            on_health=self.health.set,
        )

    @classmethod
    async def open(cls, path: Path) -> Store:
        return cls(path, await asyncio.to_thread(open_for_writing, path))

    async def rows(self, query: str, *values: object) -> list[Any]:
        def read() -> list[Any]:
            db = sqlite3.connect(self.path)
            try:
                return db.execute(query, values).fetchall()
            finally:
                db.close()

        return await asyncio.to_thread(read)


# -- opening -----------------------------------------------------------------------


def test_it_is_durable_or_nothing(tmp_path):
    db = open_for_writing(tmp_path / "broker.db")
    assert db.execute("pragma synchronous").fetchone() == (2,)
    assert db.execute("pragma journal_mode").fetchone() == ("wal",)
    assert (tmp_path / "broker.db").stat().st_mode & 0o777 == 0o600
    db.close()
    open_for_writing(tmp_path / "broker.db").close()


def test_a_foreign_database_is_left_alone(tmp_path):
    path = tmp_path / "broker.db"
    db = sqlite3.connect(path)
    db.execute("create table mine(x)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseRefused, match="not a broker's database"):
        open_for_writing(path)
    assert path.read_bytes() == before


def test_a_newer_database_is_left_alone(tmp_path):
    path = tmp_path / "broker.db"
    db = open_for_writing(path)
    db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(DatabaseRefused, match="newer hyperhive"):
        open_for_writing(path)


def test_garbage_is_refused_in_words(tmp_path):
    path = tmp_path / "broker.db"
    path.write_bytes(os.urandom(9000))
    with pytest.raises(DatabaseRefused, match="move it away"):
        open_for_writing(path)


def test_a_file_that_was_never_filled_is_taken(tmp_path):
    path = tmp_path / "broker.db"
    db = sqlite3.connect(path)
    db.execute("pragma journal_mode=wal")
    db.close()
    open_for_writing(path, ()).close()
    path.with_name("empty.db").touch()
    open_for_writing(path.with_name("empty.db")).close()


def test_an_older_one_is_brought_up_to_date_and_a_copy_kept(tmp_path):
    path = tmp_path / "broker.db"
    open_for_writing(path).close()
    now = len(MIGRATIONS) + 1
    steps = ("create table added(x); insert into added values(7)", "alter table added add y")
    db = open_for_writing(path, (*MIGRATIONS, *steps))
    assert db.execute("select x, y from added").fetchall() == [(7, None)]
    db.close()
    copy = sqlite3.connect(path.with_name(f"broker.db.v{now}"))
    assert copy.execute("pragma user_version").fetchone() == (now,)
    copy.close()
    with pytest.raises(DatabaseRefused, match="newer"):
        open_for_writing(path)


def test_an_older_one_ends_with_the_shape_of_a_new_one(tmp_path):
    old = sqlite3.connect(tmp_path / "old.db")
    old.executescript(
        f"{V1.read_text()}; pragma application_id={APPLICATION_ID}; pragma user_version=1"
    )
    old.close()
    assert shape(tmp_path / "old.db") == shape(tmp_path / "new.db")


def shape(path: Path) -> dict[str, Any]:
    """Columns and indexes of each table, whatever way they came to be."""
    db = open_for_writing(path)
    try:
        tables = [row[0] for row in db.execute("select name from sqlite_master where type='table'")]
        return {
            table: (
                sorted(row[1:] for row in db.execute(f"pragma table_info({table})")),
                sorted(
                    (row[1], *(c[2] for c in db.execute(f"pragma index_info({row[1]})")))
                    for row in db.execute(f"pragma index_list({table})")
                ),
            )
            for table in tables
        }
    finally:
        db.close()


# -- writing -----------------------------------------------------------------------


async def test_one_body_many_deliveries_and_numbered_events(tmp_path):
    store = await Store.open(tmp_path / "broker.db")
    events = (NewEvent(A, "x", {}, 1.0), NewEvent(B, "x", {}, 1.0), NewEvent(A, "x", {}, 1.0))
    assert await store.writer.submit(Unit((message(1, A, B),), events)) is None
    numbered = [(e.id, e.agent, e.seq, e.kind) for e in store.events]
    assert numbered == [(1, A, 1, "message"), (2, A, 2, "x"), (3, B, 1, "x"), (4, A, 3, "x")]
    assert store.events[0].data["from"] == "alice"
    assert await store.rows("select count(*) from message") == [(1,)]
    assert await store.rows("select agent from delivery order by agent") == [(A,), (B,)]
    await store.writer.close()


async def test_a_key_is_written_once_and_leaves_no_gap_in_the_history(tmp_path):
    store = await Store.open(tmp_path / "broker.db")
    units = [
        Unit((message(n, B, key="k" if n != 3 else None),), (NewEvent(B, "m", {"n": n}, 1.0),))
        for n in (1, 2, 3)
    ]
    held = await asyncio.gather(*(store.writer.submit(u) for u in units))
    assert held == [None, (1, 1), None]
    assert [(e.seq, e.kind) for e in store.events] == [
        (1, "message"),
        (2, "m"),
        (3, "message"),
        (4, "m"),
    ]
    assert await store.writer.submit(Unit((message(9, B, key="k"),))) == (1, 1)
    assert len(store.events) == 4
    assert await store.rows("select id from message") == [(1,), (3,)]
    await store.writer.close()


async def test_keys_that_come_again_within_a_large_batch_are_written_once(tmp_path):
    store = await Store.open(tmp_path / "broker.db")
    firsts = [(n - 1) % 90 + 1 for n in range(1, 204)]
    units = [Unit((message(n, A, B, key=str(m)),)) for n, m in enumerate(firsts, 1)]
    held = await asyncio.gather(*(store.writer.submit(unit) for unit in units))
    assert held == [None if n == m else (m, m) for n, m in enumerate(firsts, 1)]
    assert await store.rows("select id from message") == [(n,) for n in range(1, 91)]
    assert await store.rows("select count(*), min(agent), max(agent) from delivery") == [
        (180, A, B)
    ]
    assert await store.rows("select message, seq from event") == [(n, n) for n in range(1, 91)]
    await store.writer.close()


async def test_one_bad_unit_does_not_fail_the_others(tmp_path):
    store = await Store.open(tmp_path / "broker.db")
    bad = Unit(
        (message(2, B),), (NewEvent(B, "m", {}, 1.0),), (("insert into nowhere values(1)", ()),)
    )
    futures = [
        store.writer.submit(u) for u in (Unit((message(1, B),)), bad, Unit((message(3, B),)))
    ]
    one, two, three = await asyncio.gather(*futures, return_exceptions=True)
    assert isinstance(two, RpcError)
    assert not isinstance(one, BaseException)
    assert not isinstance(three, BaseException)
    assert await store.rows("select id from message") == [(1,), (3,)]
    assert await store.rows("select message, seq from event") == [(1, 1), (3, 2)]
    assert [e.seq for e in store.events] == [1, 2]
    await store.writer.close()


async def test_what_follows_a_commit_runs_though_nobody_waits(tmp_path):
    store, done = await Store.open(tmp_path / "broker.db"), asyncio.Event()
    future = store.writer.submit(Unit((message(1, B),)), lambda _: done.set())
    future.cancel()
    async with asyncio.timeout(5):
        await done.wait()
    await store.writer.close()


async def test_a_full_disk_is_an_error_and_not_the_end(tmp_path):
    store = await Store.open(tmp_path / "broker.db")
    await store.writer.submit(Unit((message(1, B),)))
    [(pages,)] = await store.rows("pragma page_count")
    await asyncio.to_thread(store.db.execute, f"pragma max_page_count={pages + 3}")
    with pytest.raises(RpcError, match="full"):
        await store.writer.submit(Unit((message(2, B, body="x" * 100_000),)))
    await asyncio.to_thread(store.db.execute, "pragma max_page_count=1000000")
    await store.writer.submit(Unit((message(3, B, body="x" * 100_000),)))
    assert await store.rows("select id from message") == [(1,), (3,)]
    await store.writer.close()


async def test_too_much_at_once_is_refused_and_what_was_taken_is_kept(tmp_path):
    store = await Store.open(tmp_path / "broker.db")
    taken, refused = [], 0
    for n in range(1, 12_000):
        try:
            taken.append(store.writer.submit(Unit((message(n, B),))))
        except RpcError:
            refused += 1
    await asyncio.gather(*taken)
    assert refused > 0
    assert await store.rows("select count(*) from message") == [(len(taken),)]
    await store.writer.close()


# -- reading -----------------------------------------------------------------------


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


async def test_a_look_for_a_peer_keeps_no_other_read_waiting(tmp_path, monkeypatch):
    """Where few messages are theirs, it goes over all there are."""
    store = await Store.open(tmp_path / "broker.db")
    await store.writer.submit(Unit((message(1, B),)))
    await store.writer.close()
    looking, go = threading.Event(), threading.Event()
    (name, arguments, sound), *others = FUNCTIONS

    def slow(*values: Any) -> Any:
        looking.set()
        go.wait(20)
        return sound(*values)

    for place in ("teaching", "reader"):
        functions = ((name, arguments, slow), *others)
        monkeypatch.setattr(f"hive_broker.store.{place}.FUNCTIONS", functions)
    reader = await Reader.open(store.path)
    try:
        found = asyncio.create_task(reader.messages("bob", Span(5)))
        assert await asyncio.to_thread(looking.wait, 20)
        async with asyncio.timeout(10):
            assert await reader.sender(1) == A
        assert not found.done()
        go.set()
        assert [m["id"] for m in await found] == [1]
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


# -- crashes -----------------------------------------------------------------------

CRASHING = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_store import Store, message, B, Unit

async def main():
    store = await Store.open(Path(sys.argv[1]))
    async def sender(first):
        n = first
        while True:
            await store.writer.submit(Unit((message(n, B),)))
            print(n, flush=True)
            n += 16
    await asyncio.gather(*(sender(n) for n in range(1, 17)))
asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 50, 700])
def test_what_was_acknowledged_is_there_after_kill_9(tmp_path, lines: int):
    path = tmp_path / "broker.db"
    child = subprocess.Popen(
        [sys.executable, "-c", CRASHING, str(path), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    acknowledged = {int(child.stdout.readline()) for _ in range(lines)}
    child.send_signal(signal.SIGKILL)
    acknowledged |= {
        int(line) for line in child.stdout.read().splitlines(True) if line.endswith(b"\n")
    }
    child.wait()
    child.stdout.close()
    db = open_for_writing(path)
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    stored = {row[0] for row in db.execute("select id from message")}
    delivered = {row[0] for row in db.execute("select message from delivery")}
    db.close()
    assert acknowledged <= stored
    assert stored == delivered


def test_statements_name_columns_that_exist(tmp_path):
    """Every change is tried on a real schema; the numbers are nonsense."""
    from hive_broker.core.calls import Call
    from hive_broker.core.delivery import Delivery, Turn
    from hive_broker.core.questions import Question
    from hive_broker.core.reminders import Reminder
    from hive_wire.protocol import TurnEnd, Usage

    turn, delivery = Turn(1, 1), Delivery(1)
    end = TurnEnd(turn="1.1", outcome="ok")
    tried = (
        changes.settle(A, 1, 1.0), changes.give_back(A, delivery, 1.0),
        changes.owe(A, 1), changes.detach(A, 1), changes.attach(A, 1, 2, "x"),
        changes.bury(A, delivery, "x", 1.0), changes.unbury(A, 1), changes.drop_dead(A, 1, 1.0),
        changes.start_turn(A, turn, 1.0), changes.end_turn(A, turn, end, 1.0),
        changes.meter(A, Usage(), 0.1, 1.0), changes.add_call(A, Call(1, "n", 1, "t", "d", "r")),
        changes.rename_call(Call(1, "n", 1, "t", "d", "r")), changes.repeat_calls(A, 1),
        changes.forget_calls(A, 1), changes.retire_agent(A, 1.0), changes.set_fence(A, True),
        changes.set_boot(A, "b"), changes.set_acked(A, "b", 1),
        changes.set_pause("*", "x", "y", 1.0), changes.lift_pause("*"),
        changes.set_question(Question(1, A, "?", (), False, 1.0, None)),
        changes.set_reminder(Reminder(1, A, "x", 1.0, None)), changes.drop_reminder(1),
    )  # fmt: skip
    db = open_for_writing(tmp_path / "broker.db")
    for statement, parameters in tried:
        db.execute(statement, parameters)
    db.close()
