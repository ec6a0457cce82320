"""Event history: per-agent numbers, and subscriptions without gap or duplicate."""

from __future__ import annotations

import asyncio
import random
import socket
import sqlite3
import uuid

import pytest
from support.broker_rig import agent, rig, until

from hive_broker.server import serving
from hive_broker.store.rows import StoredEvent
from hive_wire.frames import encode
from hive_wire.paths import Layout
from hive_wire.protocol import Event
from hive_wire.rpc_errors import RpcError
from hive_wire.sockets import connect

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


def rows(first: int, count: int, kind: str = "text", size: int = 10) -> list[dict]:
    return [
        {"n": n, "turn": "1.1", "kind": kind, "data": {"text": "x" * size}, "at": 1.0}
        for n in range(first, first + count)
    ]


class Subscriber:
    """Collects events and checks each on its way in."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        self.peer = None

    async def start(self, hive, **params) -> None:
        params = {"after": 0, "stream": True, **params}
        self.peer = await hive.client({"events": self._take})
        await self.peer.request("subscribe", params, timeout=10)

    def _take(self, _, params: dict) -> None:
        for event in params["events"]:
            Event.model_validate(event)
            self.events.append(event)

    @property
    def ids(self) -> list[int]:
        return [event["id"] for event in self.events]


async def test_numbers_count_up_per_agent_and_over_all(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout, cook = await hive.harness(A), await hive.harness(B)
        await asyncio.gather(
            scout.ask("stream", rows=rows(1, 30)), cook.ask("stream", rows=rows(1, 20))
        )
        await hive.kill()
        await hive.start()
        await scout.hello()
        await scout.ask("stream", rows=rows(31, 5))
        events = (await hive.ask("events", after=0, limit=1000))["events"]
        ids = [e["id"] for e in events]
        assert ids == sorted(set(ids))
        for uid, name in ((A, "scout"), (B, "cook")):
            mine = [e for e in events if e["agent"] == uid]
            assert [e["seq"] for e in mine] == list(range(1, len(mine) + 1))
            assert {e["name"] for e in mine} == {name}


async def test_rows_are_stored_once_however_often_they_come(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        calls = [scout.ask("stream", rows=rows(first, 10)) for first in (1, 5, 5)]
        assert [answer["acked"] for answer in await asyncio.gather(*calls)] == [10, 14, 14]
        await hive.kill()
        await hive.start()
        assert (await scout.hello())["acked"] == 14
        assert (await scout.ask("stream", rows=rows(1, 14)))["acked"] == 14
        events = (await hive.ask("events", kinds=["text"], after=0, limit=1000))["events"]
        assert len(events) == 14
        assert (await scout.hello(boot=str(uuid.uuid4())))["acked"] == 0
        assert (await scout.ask("stream", rows=rows(1, 3)))["acked"] == 3


async def test_a_harness_cannot_write_the_brokers_own_events(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        for kind in ("message", "turn.ended", "question", "paused", "state"):
            with pytest.raises(RpcError, match="is no kind of row"):
                await scout.ask("stream", rows=rows(1, 1, kind))
        await scout.ask("stream", rows=rows(1, 1, "gap"))
        await scout.ask("stream", rows=rows(2, 1, "text", size=600_000))
        [cut] = (await hive.ask("events", kinds=["text"], limit=5))["events"]
        assert cut["data"]["cut"] > 600_000


async def test_subscriptions_resume_without_gap_or_duplicate(tmp_path):
    """Subscribers come and go at random while two harnesses and the operator write."""
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout, cook = await hive.harness(A), await hive.harness(B)
        done = asyncio.Event()

        async def write(harness, count: int) -> None:
            for n in range(count):
                await harness.ask("stream", rows=rows(n * 20 + 1, 20))

        async def talk(count: int) -> None:
            for n in range(count):
                await hive.ask("send", to="scout", body=f"{n}", by="ann")

        async def newest() -> int:
            return (await hive.ask("events", limit=1))["events"][0]["id"]

        async def follow() -> list[dict]:
            got: list[dict] = []
            while not done.is_set():
                got += await visit(got, random.randint(1, 150), 0)
            return got + await visit(got, 1 << 30, await newest())

        async def visit(got: list[dict], wanted: int, end: int) -> list[dict]:
            """Subscribe where the last visit ended, for `wanted` events or up to `end`."""
            one, cursor = Subscriber(), got[-1]["id"] if got else 0
            await one.start(hive, after=cursor)

            def enough() -> bool:
                reached = one.ids[-1] if one.ids else cursor
                return reached >= end if end else len(one.ids) >= wanted or done.is_set()

            await until(enough, "events")
            one.peer.close()
            return one.events

        followers = [asyncio.create_task(follow()) for _ in range(4)]
        await asyncio.gather(write(scout, 40), write(cook, 40), talk(60))
        done.set()
        everything = []
        while True:
            after = everything[-1]["id"] if everything else 0
            page = (await hive.ask("events", after=after, limit=1000))["events"]
            if not page:
                break
            everything += page
        assert len(everything) > 1600
        for follower in followers:
            got = await follower
            assert [e["id"] for e in got] == [e["id"] for e in everything]
            assert got == everything


async def test_filters_hold_for_backlog_and_live(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        scout, cook = await hive.harness(A), await hive.harness(B)
        await scout.ask("stream", rows=rows(1, 5))
        mine, quiet, fresh = Subscriber(), Subscriber(), Subscriber()
        await mine.start(hive, uid=A)
        await quiet.start(hive, stream=False)
        await fresh.start(hive, after=None)
        await cook.ask("stream", rows=rows(1, 5))
        await scout.ask("stream", rows=rows(6, 5))
        sent = await hive.ask("send", to="scout", body="hi", by="ann")
        found = [
            await until(lambda s=s: [e for e in s.events if e["kind"] == "turn.started"], "live")
            for s in (mine, quiet, fresh)
        ]
        assert {f[0]["data"]["message"] for f in found} == {sent["id"]}
        assert {e["agent"] for e in mine.events} == {A}
        assert sum(e["kind"] == "text" for e in mine.events) == 10
        assert not any(e["kind"] == "text" for e in quiet.events)
        assert sum(e["kind"] == "text" for e in fresh.events) == 10
        assert not any(e["kind"] == "ready" for e in fresh.events)


async def test_a_reader_that_does_not_read_holds_up_nobody(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        with socket.socket(socket.AF_UNIX) as stuck:
            stuck.connect(str(hive.layout.broker_sock))
            ask = {"jsonrpc": "2.0", "id": 1, "method": "subscribe"}
            stuck.sendall(encode({**ask, "params": {"after": 0, "stream": True}}))
            quick = Subscriber()
            await quick.start(hive)
            for n in range(60):  # 15 MB
                await scout.ask("stream", rows=rows(n * 4 + 1, 4, size=65_000))
            await until(lambda: sum(e["kind"] == "text" for e in quick.events) == 240, "all")
            assert hive.process is not None
            status = (await asyncio.to_thread(_rss, hive.process.pid)) >> 20
            assert status < 90


def _rss(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


async def test_pages_of_history_fit_a_frame(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"))
        scout = await hive.harness(A)
        for n in range(10):
            await scout.ask("stream", rows=rows(n * 4 + 1, 4, size=60_000))
        newest = await hive.ask("events", kinds=["text"], limit=100)
        assert 5 < len(newest["events"]) < 40
        assert newest["events"][-1]["seq"] > newest["events"][0]["seq"]
        older = await hive.ask("events", kinds=["text"], limit=3, before=newest["events"][0]["id"])
        assert older["events"][-1]["id"] < newest["events"][0]["id"]
        oldest = await hive.ask("events", kinds=["text"], limit=3, after=0)
        assert oldest["cursor"] == oldest["events"][-1]["id"]


async def test_a_subscriber_whose_history_cannot_be_read_is_sent_away(tmp_path, monkeypatch):
    """It would look live, and hear of nothing any more."""
    layout = Layout.of(tmp_path)
    layout.agent_run(A).mkdir(parents=True)
    async with serving(layout) as app:
        host = await connect(layout.broker_sock)
        await host.request("registry.set", {"agents": [agent(A, "scout")]})
        await host.request("send", {"to": "scout", "body": "x", "by": "ann"})

        async def damaged(*_: object, **__: object) -> list[StoredEvent]:
            raise sqlite3.DatabaseError("database disk image is malformed")

        monkeypatch.setattr(app.broker.reader, "events", damaged)
        subscriber = await connect(layout.broker_sock)
        await subscriber.request("subscribe", {"after": 0, "stream": True})
        async with asyncio.timeout(10):
            await subscriber.gone()
        assert app.broker.history.subscribers == 0
        host.close()
