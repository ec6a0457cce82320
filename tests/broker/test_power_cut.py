"""The power goes at a sync: what was acknowledged is there, and what was done stays done."""

from __future__ import annotations

import asyncio

import pytest
from support import power_cut
from support.power_life import MESSAGES, traced_life

pytestmark = pytest.mark.slow


@pytest.mark.timeout(240)
async def test_a_power_cut_takes_nothing_that_was_acknowledged(tmp_path):
    ops = await traced_life(tmp_path)
    assert {op.file for op in ops if op.kind == "S"} >= {"broker.db", "broker.db-wal"}
    found = await asyncio.to_thread(power_cut.replay, ops, boundaries=60)
    print(found)
    assert found.most_promised == MESSAGES
    assert not found.wrong


@pytest.mark.timeout(120)
async def test_the_replay_finds_a_broker_that_speaks_before_it_syncs(tmp_path):
    ops = await traced_life(tmp_path)
    unsynced = [op for op in ops if op.kind != "S" or op.file != "broker.db-wal"]
    found = await asyncio.to_thread(power_cut.replay, unsynced)
    assert any("lost" in problem for problem in found.wrong)
