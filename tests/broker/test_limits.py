"""What agents may send: rates, full inboxes, and talk without end."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.broker_rig import Harness, Rig, ToolFailed, Tools, agent, rig, until

from hive_broker.core.damping import FREE_HOPS, LONGEST_WAIT, hops_after, wait
from hive_broker.core.limits import (
    BYTES,
    BYTES_PER_SECOND,
    MESSAGES,
    MOST_WAITING,
    Allowance,
    TooMuch,
    check_room,
)
from hive_broker.core.mailbox import Mailbox
from hive_broker.core.retention import SETTLED_MESSAGES

A, B, C = "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"

# -- pure --------------------------------------------------------------------------


@given(st.lists(st.integers(0, 100)))
def test_a_person_begins_anew(handed):
    assert hops_after([*handed, 0]) == 1
    assert hops_after([0, *(h + 1 for h in handed)]) == max([0, *(h + 1 for h in handed)]) + 1


@given(st.integers(0, 10_000))
def test_waits_grow_and_end(hops):
    assert 0 <= wait(hops) <= wait(hops + 1) <= LONGEST_WAIT
    assert (wait(hops) == 0) == (hops <= FREE_HOPS)


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 300_000)), max_size=200))
def test_an_allowance_is_never_overdrawn_and_comes_back(steps):
    now, sent = 0.0, 0
    allowance = Allowance(now)
    for seconds, size in steps:
        now += seconds
        try:
            allowance.spend(size, now)
        except TooMuch:
            continue
        sent += size
        assert sent <= BYTES + now * BYTES_PER_SECOND
    allowance.spend(1, now + 60)


def test_a_burst_is_allowed_and_a_flood_is_not():
    allowance = Allowance(0.0)
    for _ in range(int(MESSAGES)):
        allowance.spend(10, 0.0)
    with pytest.raises(TooMuch, match="wait 1 s; put several things into one message"):
        allowance.spend(10, 0.0)


def test_what_one_agent_sends_in_a_month_fits_a_disk():
    allowance, now, sent = Allowance(0.0), 0.0, 0
    while now < SETTLED_MESSAGES:
        try:
            allowance.spend(256 << 10, now)
            sent += 256 << 10
        except TooMuch:
            now += 60
    assert sent < 11 << 30


def test_an_inbox_has_an_end():
    check_room("scout", MOST_WAITING - 1)
    with pytest.raises(TooMuch, match="10000 messages wait for scout"):
        check_room("scout", MOST_WAITING)


def test_what_is_held_back_holds_up_nobody_else():
    box = Mailbox()
    box.arrive(1, hops=30, not_before=300.0)
    assert box.grant(0.0) is None
    box.arrive(2, hops=31, not_before=300.0)
    assert box.grant(0.0) is None
    box.arrive(3)
    turn = box.grant(0.0)
    assert turn is not None
    assert turn.message == 1  # in order, and at once
    assert box.hops() == (30,)


# -- the process -------------------------------------------------------------------


class Talker:
    """An agent that answers whoever wrote to it."""

    def __init__(self, uid: str, harness: Harness, tools: Tools) -> None:
        self.uid, self.harness, self.tools = uid, harness, tools

    async def answer(self, timeout: float = 20.0) -> dict:
        grant = await self.harness.granted(timeout)
        message, turn = grant["message"], grant["turn"]
        to = "cook" if message["to"] == "scout" else "scout"
        answer = await self.tools.call("send", f"{turn}:1", to=to, body="thank you")
        await self.harness.end(turn)
        return answer


async def talkers(hive: Rig) -> list[Talker]:
    await hive.registry(agent(A, "scout"), agent(B, "cook"), agent(C, "third"))
    return [Talker(uid, await hive.harness(uid), await hive.tools(uid)) for uid in (A, B)]


async def talk_until_damped(hive: Rig) -> list[Talker]:
    """Ends when a message waits for the first of the two that are given back."""
    one, other = await talkers(hive)
    await hive.ask("send", to="scout", body="say hello to cook", by="ann")
    for _ in range(FREE_HOPS + 2):
        answer = await one.answer()
        one, other = other, one
        if "note" in answer:
            assert "delivered in 2 s" in answer["note"]
            assert "ask_operator" in answer["note"]
            return [one, other]
    raise AssertionError("never damped")


async def damped(hive: Rig) -> str:
    found = (await hive.ask("status"))["conditions"]
    return next((c["message"] for c in found if c["type"] == "Damped"), "")


@pytest.mark.slow
async def test_endless_talk_is_slowed_down_and_shown(tmp_path):
    async with rig(tmp_path) as hive:
        one, _ = await talk_until_damped(hive)
        assert "cook and scout have answered each other" in await damped(hive)
        (found,) = (await hive.ask("status"))["conditions"]
        assert found["agents"] == ["cook", "scout"]
        events = (await hive.ask("events", after=0, limit=1000, kinds=["condition"]))["events"]
        assert [e["data"]["type"] for e in events] == ["Damped"]
        await hive.kill()
        await hive.start()  # neither the wait nor the hops are forgotten
        assert (await one.harness.hello())["resume"] is None
        one.tools = await hive.tools(one.uid)
        assert "delivered in 4 s" in (await one.answer())["note"]


@pytest.mark.slow
async def test_a_person_frees_it_and_it_is_not_shown_any_more(tmp_path):
    async with rig(tmp_path) as hive:
        one, other = await talk_until_damped(hive)
        await hive.ask("undamp", agents=["scout", "cook"], by="ann")
        assert await damped(hive) == ""
        assert "note" not in await one.answer(timeout=1.5)
        assert "note" not in await other.answer(timeout=1.5)


@pytest.mark.slow
async def test_a_message_from_elsewhere_does_not_wait_behind_it(tmp_path):
    async with rig(tmp_path) as hive:
        one, _ = await talk_until_damped(hive)
        name = "scout" if one.uid == A else "cook"
        third = await hive.tools(C)
        await third.call("send", to=name, body="fire")
        await one.harness.end((await one.harness.granted(1.5))["turn"])
        assert (await one.harness.granted(1.5))["message"]["body"] == "fire"


@pytest.mark.slow
async def test_a_flood_is_told_to_stop(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        tools = await hive.tools(A)

        async def flood() -> None:
            while True:
                await tools.call("send", to="cook", body="x" * 200_000)

        with pytest.raises(ToolFailed, match="you send too much: wait"):
            await flood()
        assert 160 <= (await hive.status(B))["queued"] < 300
        await until(lambda: tools.call("send", to="cook", body="x"), "a small one goes")


@pytest.mark.slow
async def test_a_damped_broadcast_is_one_change_of_the_condition(tmp_path):
    async with rig(tmp_path) as hive:
        one, _ = await talk_until_damped(hive)
        others = [agent(f"{n:012d}", f"a{n}") for n in range(15)]
        await hive.registry(agent(A, "scout"), agent(B, "cook"), agent(C, "third"), *others)
        turn = (await one.harness.granted())["turn"]
        assert "note" in await one.tools.call("send", f"{turn}:1", to="everyone", body="thanks")
        assert "and 7 other pairs" in await damped(hive)
        assert len(await hive.events("condition")) == 2


@pytest.mark.slow
async def test_a_full_inbox_stops_neither_a_broadcast_nor_a_person(tmp_path):
    async with rig(tmp_path) as hive:
        await hive.registry(agent(A, "scout"), agent(B, "cook"), agent(C, "third"))
        for _ in range(0, MOST_WAITING, 200):
            await asyncio.gather(
                *(hive.ask("send", to="cook", body="x", by="ann") for _ in range(200))
            )
        tools = await hive.tools(A)
        with pytest.raises(ToolFailed, match="10000 messages wait for cook already"):
            await tools.call("send", to="cook", body="x")
        sent = await tools.call("send", to="everyone", body="x")
        assert sent["note"] == "not sent to those for whom too many messages wait: cook"
        assert (await hive.status(B))["queued"] == MOST_WAITING
        assert (await hive.status(C))["queued"] == 1
        await hive.registry(agent(A, "scout"), agent(B, "cook"))
        with pytest.raises(ToolFailed, match="wait for cook already"):
            await tools.call("send", to="everyone", body="x")
        await hive.ask("send", to="everyone", body="what is wrong?", by="ann")
        await hive.ask("send", to="cook", body="what is wrong?", by="ann")
