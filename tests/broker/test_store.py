"""What a commit of the store holds, and what a crash leaves of it."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.broker_store import A, B, Store, message

from hive_broker.store import changes
from hive_broker.store.database import open_for_writing
from hive_broker.store.rows import NewEvent, Unit
from hive_wire.rpc_errors import RpcError

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


async def test_a_damaged_index_is_noticed(tmp_path):
    await asyncio.to_thread(damage_index, tmp_path / "broker.db")
    store = await Store.open(tmp_path / "broker.db")
    with pytest.raises(RpcError, match="malformed"):
        await store.writer.submit(Unit(changes=(("delete from message where id=1", ()),)))
    assert store.health.is_set()
    assert store.writer.corrupt is not None
    await store.writer.close()


def damage_index(path: Path) -> None:
    """It lacks the one message there is."""
    open_for_writing(path).close()
    with changed_schema(path) as db:
        [index] = db.execute("select * from sqlite_master where name='message_inbox'").fetchall()
        db.execute("delete from sqlite_master where name='message_inbox'")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "insert into message(id, sender, sender_name, recipient, kind, body, thread, at)"
            " values(1, 'a', 'a', 'operator', 'text', 'x', 1, 1.0)"
        )
    with changed_schema(path) as db:
        db.execute("insert into sqlite_master values(?,?,?,?,?)", index)


@contextmanager
def changed_schema(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("pragma writable_schema=on")
        yield db


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


# -- crashes -----------------------------------------------------------------------

CRASHING = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from support.broker_store import B, Store, message
from hive_broker.store.rows import Unit

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
        [sys.executable, "-c", CRASHING, str(path), str(Path(__file__).parents[1])],
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
        changes.meter(A, Usage(), 0.1, 1.0), changes.add_call(A, Call(1, "n", 1, "t", "d", "r"), 1),
        changes.rename_call(Call(1, "n", 1, "t", "d", "r")), changes.repeat_calls(A, 1),
        changes.repeat_call(A, 1, "n"),
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
