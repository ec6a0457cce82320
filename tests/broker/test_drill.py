"""Ten seconds of kill -9 of anything; the ledger must be clean."""

from __future__ import annotations

import collections

import pytest
from support.broker_drill import Drill
from support.broker_rig import rig


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_nothing_is_lost_or_doubled_when_anything_dies(tmp_path):
    async with rig(tmp_path) as hive:
        drill = Drill(hive, agents=6)
        ledger = await drill.run(seconds=10)
        stored = []
        after = 0
        while page := (await hive.ask("messages", after=after, limit=500))["messages"]:
            stored += page
            after = page[-1]["id"]
        events = []
        after = 0
        while page := (await hive.ask("events", kinds=["turn.ended"], after=after, limit=1000))[
            "events"
        ]:
            events += page
            after = page[-1]["id"]
    print(
        f"acknowledged {len(ledger.acknowledged)}, turns {ledger.turns}, "
        f"broker killed {ledger.broker_kills}, harnesses {ledger.harness_kills}"
    )
    assert len(ledger.acknowledged) >= 10
    ids = {message["body"]: message["id"] for message in stored}
    doubled = [b for b, n in collections.Counter(m["body"] for m in stored).items() if n > 1]
    assert not doubled
    lost = [body for body, ident in ledger.acknowledged.items() if ids.get(body) != ident]
    assert not lost
    ended = collections.Counter(e["turn"] for e in events)
    assert not [turn for turn, times in ended.items() if times > 1]
    done = collections.Counter(
        (e["agent"], e["data"]["turn"].split(".")[0])
        for e in events
        if e["data"]["outcome"] == "ok"
    )
    assert not [which for which, times in done.items() if times > 1]
    assert not [which for which, times in ledger.completed.items() if times > 1]
    to = {message["id"]: message["to"] for message in stored}
    undone = [(to[i], i) for i in to if (to[i], i) not in ledger.completed]
    assert not undone
    for order in ledger.first_granted.values():
        assert order == sorted(order)
