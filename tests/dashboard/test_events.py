"""The stream: resumes after any id without gap or duplicate, ends with its session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from support.dashboard_world import World, lonely
from support.page_rows import UIDS

from hive_dashboard.live import hub as hubs
from hive_dashboard.live import reading
from hive_wire.paths import Layout

SCOUT = UIDS["scout"]


class Stream:
    """Reads server-sent events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.ids: list[int] = []

    async def next(self) -> tuple[str, Any]:
        name, data = "", b""
        async with asyncio.timeout(10):
            while True:
                line = await self.answer.content.readline()
                assert line, "the stream ended"
                if line == b"\n":
                    return name, orjson.loads(data)
                key, _, value = line.rstrip(b"\n").partition(b": ")
                if key == b"event":
                    name = value.decode()
                elif key == b"data":
                    data = value
                elif key == b"id":
                    self.ids.append(int(value))

    async def rows(self, until: int) -> list[list[Any]]:
        """All rows up to the one with that id."""
        found: list[list[Any]] = []
        while not found or found[-1][0] < until:
            name, data = await self.next()
            if name == "rows":
                found += data
        return found


@asynccontextmanager
async def stream(world: World, query: str = "", **headers: str) -> AsyncIterator[Stream]:
    url = f"{world.url}/events{query}"
    timeout = aiohttp.ClientTimeout(total=None)
    async with world.http.get(url, headers=headers, timeout=timeout) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["X-Accel-Buffering"] == "no"
        yield Stream(answer)


async def test_ping_comes_first_and_rows_follow(page_world: World) -> None:
    world = page_world
    async with stream(world, f"?stream={SCOUT}") as s:
        name, data = await s.next()
        assert name == "ping"
        assert set(data) == {"last", "now"}
        wanted = world.broker.emit("text", {"text": "hello <b>"})
        (row,) = await s.rows(wanted)
        assert row[:3] == [wanted, SCOUT, "text"]
        assert row[3][0] == "div"
        assert b"hello <b>" in orjson.dumps(row[3])
        assert s.ids == [wanted]


async def test_a_slow_reader_gets_every_row_once_and_in_order(page_world: World) -> None:
    """Rows go out in the step that hears them, and wait in the queue while nobody reads."""
    world = page_world
    async with stream(world, f"?stream={SCOUT}") as s:
        await s.next()
        first = world.broker.emit("text", {"text": "read at once"})
        await s.rows(first)
        (client,) = world.site.hub._clients
        last = first
        async with asyncio.timeout(60):
            while len(client.queue) < 50:
                last = world.broker.emit("text", {"text": "x" * 3000})
                await asyncio.sleep(0)
        rows = await s.rows(last)
        assert [row[0] for row in rows] == list(range(first + 1, last + 1))
        last = world.broker.emit("text", {"text": "at once again"})
        assert [row[0] for row in await s.rows(last)] == [last]
        assert not client.queue


async def test_rows_of_turns_only_for_who_wants_them(page_world: World) -> None:
    world = page_world
    async with stream(world) as s:
        await s.next()
        world.broker.emit("text", {"text": "secret"})
        last = world.broker.message("hm1nd", "scout", "x")
        last = world.broker.events[-1]["id"]
        (row,) = await s.rows(last)
        assert row[2] == "message"
        assert row[3] is None


async def test_resume_without_gap_or_duplicate(page_world: World) -> None:
    world = page_world
    first = world.broker.emit("text", {"text": "0"})
    seen = []
    for turn in range(6):
        after = seen[-1] if seen else first
        async with stream(world, f"?stream={SCOUT}&after={after}") as s:
            last = world.broker.emit_many([("text", {"text": str(turn)})] * 300)
            seen += [row[0] for row in await s.rows(last)]
        world.broker.emit_many([("text", {"text": "meanwhile"})] * 50)
    assert seen == list(range(first + 1, seen[-1] + 1))


async def test_last_event_id_wins_over_the_address(page_world: World) -> None:
    world = page_world
    last = world.broker.emit_many([("text", {"text": "x"})] * 10)
    await world.until(lambda: world.site.hub.last == last)
    async with stream(world, f"?stream={SCOUT}&after=1", **{"Last-Event-ID": "7"}) as s:
        assert [row[0] for row in await s.rows(last)] == [8, 9, 10]


async def test_resume_from_the_brokers_history(page_world: World) -> None:
    """What the dashboard itself never heard, or no longer keeps, is asked for."""
    world = page_world
    last = world.broker.emit_many([("text", {"text": "x"})] * 2500)
    await world.until(lambda: world.site.hub.last == last)
    world.site.hub._kept.clear()
    async with stream(world, f"?stream={SCOUT}&after=3") as s:
        assert [row[0] for row in await s.rows(last)] == list(range(4, last + 1))


async def test_pages_of_history_that_are_cut_leave_no_gap(page_world: World) -> None:
    """An answer is one frame: of rows of 64 KiB it has ten."""
    world = page_world
    last = world.broker.emit_many([("text", {"text": "x"})] * 60)
    await world.until(lambda: world.site.hub.last == last)
    world.site.hub._kept.clear()
    world.broker.fitting = 7
    async with stream(world, f"?stream={SCOUT}&after=3") as s:
        last = world.broker.emit("text", {"text": "now"})
        assert [row[0] for row in await s.rows(last)] == list(range(4, last + 1))


async def test_who_is_too_far_behind_starts_anew(page_world: World) -> None:
    world = page_world
    last = world.broker.emit_many([("state", {"state": "idle"})] * (hubs.KEPT * 2 + 10))
    await world.until(lambda: world.site.hub.last == last)
    async with stream(world, "?after=1") as s:
        assert (await s.next())[0] == "ping"
        assert (await s.next())[0] == "reset"


async def test_another_store_starts_everybody_anew(page_world: World) -> None:
    world = page_world
    last = world.broker.emit_many([("text", {"text": "x"})] * 5)
    await world.until(lambda: world.site.hub.last == last)
    async with stream(world, f"?stream={SCOUT}") as s:
        await s.next()
        await world.broker.stop()
        world.broker.events = []
        await world.broker.start()
        while (await s.next())[0] != "reset":
            pass


async def test_the_broker_restarts_under_an_open_stream(page_world: World) -> None:
    world = page_world
    async with stream(world, f"?stream={SCOUT}") as s:
        await s.next()
        world.broker.emit("text", {"text": "1"})
        await world.broker.stop()
        missed = world.broker.emit("text", {"text": "while away"})
        await world.broker.start()
        rows = await s.rows(missed)
        assert [row[0] for row in rows] == [1, 2]


async def test_what_is_told_with_the_first_answer_is_not_forgotten(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both may come in one read; a page that was loaded then went on without what it had not."""
    async with lonely(layout) as world:
        world.broker.emit("text", {"text": "1"})
        subscribe = world.broker._subscribe

        def busy(peer: Any, params: Any) -> Any:
            answer = subscribe(peer, params)
            world.broker.emit("text", {"text": "2"})
            return answer

        monkeypatch.setitem(world.broker._handlers, "subscribe", busy)  # type: ignore[arg-type]
        async with world.broker:
            await world.until(lambda: world.site.broker.is_up)
            await world.until(lambda: world.site.hub.heard_total == 1)
            assert world.site.hub.last == 2


async def test_turns_that_end_while_the_history_is_read_are_counted(
    page_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart of the broker: all parts are read, and shown when the last one is there."""
    world = page_world
    ended = {"turn": "1.1", "outcome": "ok", "cost_usd": 0.5}

    def counted() -> int:
        return getattr(world.site.mirror.snapshot.spent.get(SCOUT), "turns", 0)

    world.broker.emit("turn.ended", ended)
    await world.until(lambda: counted() == 1)
    agents, told = reading.BROKER["agents"], list[int]()

    async def slow(broker: Any) -> Any:
        await world.until(lambda: "turns" in answered)
        if not told:
            told.append(world.broker.emit("turn.ended", ended))
        await world.until(lambda: world.site.hub.last == told[0])
        return await agents(broker)

    turns, answered = reading.BROKER["turns"], list[str]()

    async def noted(broker: Any) -> Any:
        answer = await turns(broker)
        answered.append("turns")
        return answer

    monkeypatch.setitem(reading.BROKER, "agents", slow)
    monkeypatch.setitem(reading.BROKER, "turns", noted)
    await world.broker.stop()
    await world.broker.start()
    await world.until(lambda: bool(told) and not world.site.mirror.snapshot.away)
    await world.until(lambda: counted() == 2)


async def test_who_comes_before_the_broker_goes_on_where_they_were(layout: Layout) -> None:
    """As after a restart of the dashboard: browsers are back before it has heard of the broker."""
    async with lonely(layout) as world:
        await world.login()
        world.broker.emit_many([("text", {"text": "x"})] * 9)
        async with stream(world, f"?stream={SCOUT}&after=4") as s:
            await s.next()
            await world.broker.start()
            assert [row[0] for row in await s.rows(9)] == [5, 6, 7, 8, 9]


async def test_a_broker_that_is_newer_is_understood(page_world: World) -> None:
    """Each process may be another version: keys that are not known here hide no row."""
    world = page_world
    world.broker.states["scout"].update(newer=1, detail="reads on")
    message = {"id": 1, "sender": "hm1nd", "to": "scout", "kind": "text", "body": "fresh news"}
    world.broker.messages.append(
        {**message, "data": None, "thread": 1, "in_reply_to": None, "at": 9.0, "newer": 1}
    )
    event = {"id": 7, "agent": SCOUT, "name": "scout", "seq": 1, "turn": None, "at": 9.0}
    world.broker.events.append({**event, "kind": "message", "data": {}, "newer": 1})
    async with stream(world, f"?stream={SCOUT}") as s:
        await s.next()
        world.broker.tell("events", {"events": world.broker.events})
        (row,) = await s.rows(7)
        assert row[2] == "message"
    await world.until(lambda: bool(world.site.mirror.snapshot.messages))
    await world.until(lambda: world.site.mirror.snapshot.agents["scout"].detail == "reads on")
    assert "fresh news" in await world.get("/")
    assert "message" in await world.get("/a/scout/")
    async with world.http.get(f"{world.url}/api/v1/messages") as answer:
        assert answer.status == 200


async def test_an_answer_that_nobody_expects_is_asked_for_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dashboard would be without the broker until somebody starts it anew."""
    async with lonely(layout) as world, world.host:
        subscribe, answers = world.broker._subscribe, iter([{"curser": 1}])
        odd = lambda peer, params: next(answers, None) or subscribe(peer, params)  # noqa: E731
        monkeypatch.setitem(world.broker._handlers, "subscribe", odd)  # type: ignore[arg-type]
        async with world.broker:
            await world.settled()


async def test_a_change_is_told(page_world: World) -> None:
    world = page_world
    async with stream(world) as s:
        await s.next()
        world.host.add(3)
        version = -1
        while (
            3 not in {p.n for p in world.site.mirror.snapshot.open}
            or version < world.site.mirror.snapshot.version
        ):
            name, data = await s.next()
            version = data["version"] if name == "changed" else version


async def test_streams_are_counted(page_world: World) -> None:
    world = page_world
    hub = world.site.hub
    clients = [hub.join("s", "damo", frozenset()) for _ in range(hubs.MAX_CLIENTS)]
    async with world.http.get(f"{world.url}/events") as answer:
        assert answer.status == 503
    words = f"{hubs.MAX_CLIENTS} are open already, {hubs.MAX_CLIENTS} of them yours"
    assert words in (await session(world))["no_room"]
    for client in clients:
        hub.leave(client)
    async with stream(world) as s:
        await s.next()
    await world.until(lambda: hub.clients == 0)


async def session(world: World) -> Any:
    async with world.http.get(f"{world.url}/api/session") as answer:
        return await answer.json()


async def test_nobody_takes_all_streams(page_world: World) -> None:
    """Who has most gives up the oldest, and does not take it back."""
    world = page_world
    hub = world.site.hub
    theirs = [hub.join("s", "ana", frozenset()) for _ in range(hubs.MAX_CLIENTS)]
    assert (await session(world))["no_room"] is None
    async with stream(world) as s:
        await s.next()
        assert [client.dropped for client in theirs] == [True] + [False] * (len(theirs) - 1)
        assert hub.clients == hubs.MAX_CLIENTS
        with pytest.raises(hubs.Full, match=f"{hubs.MAX_CLIENTS - 1} of them yours"):
            hub.join("s", "ana", frozenset())
        mine = [hub.join("s", "damo", frozenset()) for _ in range(hubs.MAX_CLIENTS // 2 - 1)]
        with pytest.raises(hubs.Full, match=f"{hubs.MAX_CLIENTS // 2} of them yours"):
            hub.join("s", "damo", frozenset())
        assert not any(client.dropped for client in mine)
    for client in theirs + mine:
        hub.leave(client)
    await world.until(lambda: hub.clients == 0)


async def test_what_is_kept_has_a_size(page_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows hold up to 64 KiB; what is no longer kept comes from the broker's history."""
    monkeypatch.setattr(hubs, "KEPT_SIZE", 100_000)
    world = page_world
    first = world.broker.emit("text", {"text": "the first"})
    for _ in range(10):
        last = world.broker.emit("text", {"text": "x" * 30_000})
    await world.until(lambda: world.site.hub.last == last)
    assert [row.id for row in world.site.hub._kept] == [last - 2, last - 1, last]
    async with stream(world, f"?stream={SCOUT}&after={first - 1}") as s:
        assert [row[0] for row in await s.rows(last)] == list(range(first, last + 1))


async def test_who_does_not_read_is_dropped(page_world: World) -> None:
    world = page_world
    client = world.site.hub.join("s", "damo", frozenset({SCOUT}))
    last = world.broker.emit_many([("text", {"text": "x"})] * (hubs.QUEUE + 1000))
    await world.until(lambda: world.site.hub.last == last)
    assert client.dropped
    assert not client.queue
    assert world.site.hub.clients == 0, "it takes nobody's place"
    assert world.site.hub.dropped_total == 1
