"""A disk that flips bits: nobody reads a wrong word, and people hear of it by name."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path

import pytest
from support.broker_rig import Rig, agent, rig, until

from hive_broker.store.database import open_for_writing
from hive_broker.store.highwater import HighWater, Marks
from hive_broker.store.migrations import MIGRATIONS

pytestmark = pytest.mark.slow

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
GOOD = "take the good bridge"
V1 = Path(__file__).with_name("schema_v1.sql")


async def conditions(hive: Rig) -> dict[str, str]:
    return {c["type"]: c["message"] for c in (await hive.ask("status"))["conditions"]}


def flip(path: Path, text: str, occurrences: int | None = None) -> None:
    """One bit of the last letter, wherever `text` stands in the file."""
    raw = bytearray(path.read_bytes())
    found = 0
    at = raw.find(text.encode())
    while at >= 0:
        raw[at + len(text) - 1] ^= 0x40
        found += 1
        at = raw.find(text.encode(), at + 1)
    assert found and occurrences in (None, found)
    path.write_bytes(raw)


async def damaged(hive: Rig, text: str) -> None:
    """Stop it, flip a bit of a message, start it."""
    assert await hive.stop() == 0
    flip(hive.layout.broker / "broker.db", text)
    await hive.start()


async def test_a_damaged_message_is_a_dead_letter_and_the_next_one_comes(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        bad = await hive.ask("send", to="scout", body=GOOD, by="ann")
        good = await hive.ask("send", to="scout", body="and then rest", by="ann")
        await damaged(hive, GOOD)
        scout = await hive.harness(A)
        assert (await scout.granted())["message"]["id"] == good["id"]
        [letter] = (await hive.ask("dead"))["dead"]
        assert (letter["id"], letter["cause"]) == (bad["id"], "damaged")
        assert "bridg" not in str(letter)
        flow = (await hive.ask("messages", limit=10))["messages"]
        assert [m["body"] for m in flow] == [
            "(this message is damaged on disk and not shown)",
            "and then rest",
        ]
        assert str(bad["id"]) in (await conditions(hive))["MessagesDamaged"]
        events = (await hive.ask("events", after=0))["events"]
        assert {"condition", "dead"} <= {e["kind"] for e in events}
        said = [e["data"]["preview"] for e in events if e["kind"] == "message"]
        assert said == [m["body"] for m in flow]


async def test_the_check_at_start_finds_what_nobody_reads(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        await hive.ask("send", to="scout", body=GOOD, by="ann")
        scout = await hive.harness(A)
        await scout.end((await scout.granted())["turn"])
        await damaged(hive, GOOD)

        async def told() -> bool:
            return "MessagesDamaged" in await conditions(hive)

        await until(told, "the condition")
        assert (await hive.ask("dead"))["dead"] == []


async def test_a_damaged_message_is_not_handed_out_by_recv(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body="first", by="ann")
        turn = (await scout.granted())["turn"]
        await hive.ask("send", to="scout", body=GOOD, by="ann")
        await hive.ask("send", to="scout", body="second", by="ann")
        await damaged(hive, GOOD)
        await scout.hello(running={"turn": turn})
        tools = await hive.tools(A)
        got = await tools.call("recv", f"{turn}:1")
        assert [m["body"] for m in got["messages"]] == ["second"]
        await scout.end(turn)
        assert (await hive.ask("status"))["open"] == 0


async def test_a_turn_whose_message_is_damaged_is_dropped(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body=GOOD, by="ann")
        turn = (await scout.granted())["turn"]
        await damaged(hive, GOOD)
        welcome = await scout.hello(running={"turn": turn})
        assert (welcome["resume"], welcome["drop"]) == (None, True)
        await hive.ask("send", to="scout", body="next", by="ann")
        assert (await scout.granted())["message"]["body"] == "next"


async def test_a_turn_that_has_read_its_message_ends_as_usual(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        await hive.ask("send", to="scout", body=GOOD, by="ann")
        turn = (await scout.granted())["turn"]
        await damaged(hive, GOOD)

        async def told() -> bool:
            return "MessagesDamaged" in await conditions(hive)

        await until(told, "the condition")
        await scout.hello(ended=[{"turn": turn, "outcome": "ok"}])
        status = await hive.ask("status")
        assert (status["open"], status["dead"]) == (0, 0)


async def test_a_damaged_event_hides_no_other(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        for n, text in enumerate(("before", "the very one", "behind"), 1):
            row = {"n": n, "kind": "text", "data": {"text": text}, "at": 1.0}
            await scout.ask("stream", rows=[row])
        await damaged(hive, '"text":"the very one"')
        rows = [{"text": "before"}, {"damaged": True}, {"text": "behind"}]
        assert [e["data"] for e in await hive.events("text")] == rows
        heard: list[dict] = []
        peer = await hive.client({"events": lambda _, p: heard.extend(p["events"])})
        await peer.request("subscribe", {"after": 0, "stream": True})
        await until(
            lambda: [e["data"] for e in heard if e["kind"] == "text"] == rows, "the subscriber"
        )


async def test_a_torn_log_is_told_and_no_id_comes_twice(tmp_path):
    """SQLite itself says ok: what stood behind the flipped bit is just not there."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        sent = [await hive.ask("send", to="scout", body=f"n{n}", by="ann") for n in range(20)]
        await hive.kill()
        wal = hive.layout.broker / "broker.db-wal"
        raw = bytearray(wal.read_bytes())
        raw[len(raw) // 2] ^= 1
        wal.write_bytes(raw)
        await hive.start()
        assert "messages that were stored" in (await conditions(hive))["MessagesLost"]
        left = (await hive.ask("messages", limit=100))["messages"]
        assert 0 < len(left) < 20
        new = await hive.ask("send", to="scout", body="again", by="ann")
        assert new["id"] > sent[-1]["id"]


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path):
    path = tmp_path / "broker.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(V1.read_text())
    db.execute(f"pragma application_id={0x48495645}")
    db.execute("pragma user_version=1")
    db.execute(
        "insert into message values(1, 'operator', 'operator', 'scout', 'text', 'hi', null,"
        " 1, null, null, 1.0)"
    )
    db.execute("insert into delivery(agent, message) values(?, 1)", (A,))
    db.close()
    new = open_for_writing(path)
    fresh = open_for_writing(tmp_path / "fresh.db")
    tables = [r[0] for r in fresh.execute("select name from sqlite_master where type='table'")]
    for table in tables:
        query = f"select name, type, \"notnull\" from pragma_table_info('{table}')"
        assert sorted(new.execute(query)) == sorted(fresh.execute(query)), table
    [(crc,)] = new.execute("select crc from message").fetchall()
    assert crc != 0
    new.close()
    fresh.close()
    kept = sqlite3.connect(tmp_path / "broker.db.v1")
    assert kept.execute("select body from message").fetchall() == [("hi",)]
    kept.close()
    assert len(MIGRATIONS) >= 2


def test_the_high_water_mark_survives_and_its_own_damage_is_seen(tmp_path):
    path = tmp_path / "highwater"
    high = HighWater(path)
    assert high.marks == Marks()
    high.raise_to(Marks(7, 9))
    high.close()
    high = HighWater(path)
    assert high.marks == Marks(7, 9)
    high.close()
    path.write_bytes(struct.pack("<QQI", 8, 9, 1))
    high = HighWater(path)
    assert high.marks == Marks()
    high.close()


@pytest.mark.parametrize("size", [0, 3])
def test_a_cut_high_water_file_is_none(tmp_path, size):
    path = tmp_path / "highwater"
    path.write_bytes(b"x" * size)
    high = HighWater(path)
    assert high.marks == Marks()
    high.close()
