"""What is deleted when, by a clock that nobody can set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.broker_rig import Harness, ToolFailed, Tools, agent, until

from hive_broker.core.clock import Clock
from hive_broker.core.limits import TOLD
from hive_broker.core.retention import DAY, NONE, Mark, newest_before
from hive_broker.server import serving
from hive_broker.service.app import App
from hive_wire.jsonrpc import Peer
from hive_wire.paths import Layout
from hive_wire.sockets import connect

A, B = "aaaaaaaaaaaa", "bbbbbbbbbbbb"
YEARS = 3650 * DAY


class Hands:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.wall, self.steady = 1e9, 1000.0

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.steady)

    def days(self, count: float) -> None:
        self.wall += count * DAY
        self.steady += count * DAY


class World:
    def __init__(self, app: App, host: Peer, layout: Layout, hands: Hands) -> None:
        self.app, self.host, self.layout, self.hands = app, host, layout, hands

    async def ask(self, method: str, **params: object) -> dict:
        return await self.host.request(method, params, timeout=20)

    async def live(self, days: int) -> None:
        """So many days of service, with a look each day."""
        for _ in range(days):
            self.hands.days(1)
            await self.app.retention.look()

    async def kinds(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for event in (await self.ask("events", after=0, limit=1000))["events"]:
            found[event["kind"]] = found.get(event["kind"], 0) + 1
        return found

    async def messages(self) -> list[str]:
        return [m["body"] for m in (await self.ask("messages", after=0, limit=500))["messages"]]


@asynccontextmanager
async def world(root: Path, hands: Hands) -> AsyncIterator[World]:
    layout = Layout.of(root)
    for uid in (A, B):
        layout.agent_run(uid).mkdir(parents=True, exist_ok=True)
    async with serving(layout, hands.clock()) as app:
        host = await connect(layout.broker_sock)
        found = World(app, host, layout, hands)
        await found.ask("registry.set", agents=[agent(A, "scout"), agent(B, "cook")])
        yield found
        host.close()


def rows(first: int, count: int) -> list[dict]:
    return [
        {"n": n, "turn": "1.1", "kind": "text", "data": {"text": f"row {n}"}, "at": 1.0}
        for n in range(first, first + count)
    ]


async def greeted(here: World) -> Harness:
    harness = Harness(here.layout.agent_run(A) / "harness.sock")
    await harness.hello()
    return harness


@given(st.lists(st.floats(0, 100 * DAY), unique=True), st.floats(0, 100 * DAY))
def test_nothing_younger_is_ever_chosen(lives, age):
    marks = [Mark(lived, n, n) for n, lived in enumerate(sorted(lives), 1)]
    now = max(lives, default=0.0)
    found = newest_before(marks, now, age)
    assert found == NONE or found.lived <= now - age


async def test_stream_rows_go_after_14_days_and_turns_stay(tmp_path):
    hands = Hands()
    async with world(tmp_path, hands) as here:
        harness = await greeted(here)
        await here.ask("send", to="scout", body="x", by="ann")
        await harness.granted()
        await harness.ask("stream", rows=rows(1, 450))
        await here.live(13)
        assert (await here.kinds())["text"] == 450
        await harness.ask("stream", rows=rows(451, 10))
        await here.live(3)
        kinds = await here.kinds()
        assert kinds["text"] == 10
        assert kinds["turn.started"] == 1
        harness.close()


async def test_a_clock_that_jumps_deletes_nothing(tmp_path):
    hands = Hands()
    async with world(tmp_path, hands) as here:
        harness = await greeted(here)
        await harness.ask("stream", rows=rows(1, 20))
        for jump in (DAY, -DAY, YEARS, -YEARS):
            hands.wall += jump
            await here.live(1)
        harness.close()
    hands.wall += YEARS  # while it was down
    async with world(tmp_path, hands) as here:
        await here.live(8)
        assert (await here.kinds())["text"] == 20
        await here.live(3)  # 4 + 8 + 3 days of service
        assert (await here.kinds())["text"] == 1  # the agent's last row: its number counts on


async def test_numbers_count_on_behind_what_was_deleted(tmp_path):
    hands = Hands()
    async with world(tmp_path, hands) as here:
        harness = await greeted(here)
        await harness.ask("stream", rows=rows(1, 50))
        await here.live(16)
        last = (await here.ask("events", limit=1, uid=A))["events"][0]["seq"]
        harness.close()
    async with world(tmp_path, hands) as here:
        harness = await greeted(here)
        await harness.ask("stream", rows=rows(1, 1))
        newest = (await here.ask("events", limit=1, uid=A))["events"][0]
        assert newest["seq"] > last
        harness.close()


async def test_settled_messages_go_after_30_days_and_unsettled_ones_never(tmp_path):
    hands = Hands()
    async with world(tmp_path, hands) as here:
        harness = await greeted(here)
        await here.ask("send", to="scout", body="done", by="ann")
        await here.ask("send", to="everyone", body="half", by="ann")
        await here.ask("system", to="scout", kind="spawned", body="told once", key="k")
        await here.ask("send", to="cook", body="waits", by="ann")
        for _ in range(3):
            await harness.end((await harness.granted())["turn"])
        await here.live(29)
        await here.ask("send", to="scout", body="young", by="ann")
        await harness.end((await harness.granted())["turn"])
        assert "done" in await here.messages()
        await here.live(3)
        assert await here.messages() == ["half", "told once", "waits", "young"]
        again = await here.ask("system", to="scout", kind="spawned", body="told once", key="k")
        assert again["id"] == 3
        assert (await here.ask("status"))["open"] == 2
        said = (await here.ask("events", after=0, kinds=["message"]))["events"]
        assert [event["data"]["preview"] for event in said] == [
            *("done", "half", "told once", "waits", "young")
        ]
        found = await here.ask("search_events", agent=A, query="done")
        assert [event["data"]["from"] for event in found["events"]] == ["operator"]
        harness.close()
    async with world(tmp_path, hands) as here:
        assert (await here.ask("status"))["conditions"] == []  # nothing counts as lost
        assert await here.messages() == ["half", "told once", "waits", "young"]


async def test_its_age_outlives_the_process(tmp_path):
    hands = Hands()
    async with world(tmp_path, hands) as here:
        hands.steady += 700
        await here.app.retention.look()
    hands.steady += 99  # nobody served
    async with world(tmp_path, hands) as here:
        assert here.app.retention.lived() == 700


# -- what one agent can make the broker keep -----------------------------------------


async def test_what_an_agent_makes_at_will_goes_after_14_days(tmp_path):
    hands = Hands()
    async with world(tmp_path, hands) as here:
        harness = await greeted(here)
        tools = await Tools.open(here.layout.agent_run(A) / "mcp.sock")
        with pytest.raises(ToolFailed, match="no turn runs"):
            await tools.call("recv")
        tools.close()
        await harness.ask("state", state="failed", detail="so it says")
        gap = {"n": 1, "kind": "gap", "data": {"lost": 3}, "at": 1.0}
        await harness.ask("stream", rows=[gap])
        await here.ask("send", to="scout", body="x", by="ann")
        await harness.end((await harness.granted())["turn"])
        harness.close()

        async def told() -> bool:
            return (await here.kinds()).keys() >= {"gap", "offline", "ready", "state", "tool"}

        await until(told, "all are in the history")
        await here.live(13)
        assert await told()
        await here.live(3)
        kinds = await here.kinds()
        assert {"message", "turn.started", "turn.ended"} <= kinds.keys()
        # Only the last row may be one of them: its number counts on.
        assert sum(kinds.get(kind, 0) for kind in ("gap", "offline", "ready", "state", "tool")) <= 1


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one agent some 50 KB are kept, and it is looked at whatever it wrote."""
    monkeypatch.setattr("hive_broker.store.shares.MOST", 50_000)
    monkeypatch.setattr("hive_broker.store.shares.MOST_QUESTIONS", 20_000)
    monkeypatch.setattr("hive_broker.service.retention.WRITTEN", 1)
    monkeypatch.setattr("hive_broker.store.tables.FILE_AT", 1)


@pytest.mark.usefixtures("little")
async def test_of_who_writes_too_much_the_oldest_rows_go_and_no_other_loses_one(tmp_path):
    async with world(tmp_path, Hands()) as here:
        harness = await greeted(here)
        cook = Harness(here.layout.agent_run(B) / "harness.sock")
        await cook.hello()
        await cook.ask("stream", rows=rows(1, 20))
        await here.ask("send", to="scout", body="x", by="ann")
        await harness.end((await harness.granted())["turn"])
        for n in range(20):
            burst = [row | {"data": {"text": "x" * 500}} for row in rows(10 * n + 1, 10)]
            await harness.ask("stream", rows=burst)
        await here.app.retention.look()
        events = (await here.ask("events", after=0, limit=1000))["events"]
        mine = [event for event in events if event["agent"] == A]
        texts = [event["seq"] for event in mine if event["kind"] == "text"]
        assert 50 < len(texts) < 100
        assert texts == list(range(texts[0], mine[-1]["seq"] + 1))  # the newest ones
        assert {"message", "turn.started", "turn.ended"} <= {event["kind"] for event in mine}
        assert sum(event["agent"] == B and event["kind"] == "text" for event in events) == 20
        [condition] = (await here.ask("status"))["conditions"]
        assert (condition["type"], condition["agents"]) == ("HistoryCut", ["scout"])
        assert " of scout; see hive logs" in condition["message"]
        await here.app.retention.look()
        assert (await here.ask("status"))["conditions"] == [condition]
        cook.close()
        harness.close()


@pytest.mark.usefixtures("little")
async def test_of_many_questions_the_newest_stay_and_all_that_are_open(tmp_path):
    async with world(tmp_path, Hands()) as here:
        tools = await Tools.open(here.layout.agent_run(A) / "mcp.sock")
        first = await tools.call("ask_operator", question="May I?")
        for _ in range(60):
            last = await tools.call("ask_operator", question="x" * 1000)
            await tools.call("withdraw_question", id=last["id"])
        tools.close()
        await here.app.retention.look()
        found = (await here.ask("questions", open=False, limit=500))["questions"]
        assert 10 < len(found) < 25
        assert (found[0]["id"], found[-1]["id"]) == (last["id"], first["id"])
        said = (await here.ask("events", after=0, limit=1000, kinds=["question"]))["events"]
        assert 20 < len(said) < 60


async def test_a_state_that_changes_without_end_is_told_now_and_then(tmp_path):
    hands = Hands()
    async with world(tmp_path, hands) as here:
        harness = await greeted(here)
        for n in range(int(TOLD) + 100):
            await harness.ask("state", state="idle", detail=f"{n}")
        assert (await here.kinds())["state"] <= TOLD
        hands.steady += 60

        async def told() -> bool:
            [last] = (await here.ask("events", kinds=["state"], limit=1))["events"]
            return last["data"]["detail"] == f"{int(TOLD) + 99}"

        await until(told, "what it is by then")
        assert (await here.kinds())["state"] <= TOLD + 1
        harness.close()
