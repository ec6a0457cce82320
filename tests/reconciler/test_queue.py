"""Who is next, who is answered by which round, and what is remembered of the past."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_reconciler.core.gate import Gate, Priority
from hive_reconciler.core.rounds import Rounds
from hive_reconciler.model.past import KEPT, Outcome, noted


async def test_people_go_first_then_changes_then_drift():
    gate, served, go = Gate(1), [], asyncio.Event()

    async def work(name, priority):
        async with gate.enter(priority):
            served.append(name)
            await go.wait()

    names = [("first", Priority.RESYNC), ("drift", Priority.RESYNC), ("merge", Priority.CHANGE)]
    names += [("ann", Priority.PEOPLE), ("later merge", Priority.CHANGE)]
    tasks = []
    for name, priority in names:
        tasks.append(asyncio.create_task(work(name, priority)))
        await asyncio.sleep(0)
    assert gate.waiting == 4
    go.set()
    await asyncio.gather(*tasks)
    assert served == ["first", "ann", "merge", "later merge", "drift"]
    assert gate.inside == 0


@given(st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=30), st.integers(1, 3))
def test_never_more_inside_than_fit_and_nobody_is_forgotten(steps, size):
    async def play():
        gate, most, ended = Gate(size), 0, []

        async def work(turns):
            nonlocal most
            async with gate.enter(Priority(turns % 3)):
                most = max(most, gate.inside)
                for _ in range(turns):
                    await asyncio.sleep(0)
            ended.append(turns)

        tasks = []
        for turns, cancel in steps:
            tasks.append(asyncio.create_task(work(turns)))
            await asyncio.sleep(0)
            if cancel:
                tasks[len(tasks) // 2].cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= size
        assert gate.inside == 0
        assert gate.waiting == 0
        assert len(ended) == sum(not task.cancelled() for task in tasks)

    asyncio.run(play())


async def test_a_round_answers_only_who_asked_before_it_began():
    rounds = Rounds()
    early = rounds.ask()
    began = rounds.asked
    late = rounds.ask()
    rounds.end(began)
    await asyncio.wait_for(rounds.wait(early), 1)
    waiting = asyncio.create_task(rounds.wait(late))
    await asyncio.sleep(0)
    assert not waiting.done()
    rounds.end(rounds.asked)
    await asyncio.wait_for(waiting, 1)


def test_the_same_outcome_again_is_counted():
    past = ()
    for at in range(20):
        past = noted(past, Outcome("start", "r1", "StartFailed", "no cgroup", at, at))
    past = noted(past, Outcome("start", "r1", "Done", "", 21, 21))
    past = noted(past, Outcome("start", "r1", "StartFailed", "again", 22, 22))
    assert [(o.result, o.count) for o in past] == [("StartFailed", 21), ("Done", 1)]
    assert (past[0].first, past[0].last, past[0].message) == (0, 22, "again")


@pytest.mark.parametrize("count", [1, 10, 40])
def test_only_the_last_ten_are_kept(count):
    past = ()
    for at in range(count):
        past = noted(past, Outcome("start", f"r{at}", "Done", "", at, at))
    assert [o.revision for o in past] == [f"r{at}" for at in range(count)][::-1][:KEPT]
