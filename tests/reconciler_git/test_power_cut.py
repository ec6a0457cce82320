"""The power goes at a sync: hive.git opens, what was said is there, and what was not is whole or
absent."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from support import power_git
from support.power_records import Op

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow]


@pytest.fixture(scope="module")
def ops() -> list[Op]:
    """One life; what is left of it differs by the cut."""
    with tempfile.TemporaryDirectory(prefix="ht-") as folder:
        return power_git.traced_life(Path(folder))


async def test_a_power_cut_takes_nothing_that_was_said_and_leaves_nothing_half_done(
    ops: list[Op],
) -> None:
    found = await asyncio.to_thread(power_git.replay, ops, 12)
    assert set(found.promised.values()) == {"merged", "denied", "open"}
    assert not found.wrong


@pytest.mark.parametrize("left_out", ["", "S", "D"])
async def test_a_power_cut_while_git_packs_takes_nothing(ops: list[Op], left_out: str) -> None:
    """And the replay finds what does not wait for contents, or for names."""
    syncs = set(power_git.packing(ops))
    assert {ops[n].kind for n in syncs} == {"S", "D"}
    hasty = [op for n, op in enumerate(ops) if n not in syncs or op.kind != left_out]
    found = await asyncio.to_thread(power_git.replay, hasty, 12, among=power_git.packing)
    assert bool(found.wrong) == bool(left_out), found.wrong


@pytest.mark.parametrize("left_out", ["S", "D"])
async def test_the_replay_finds_a_writer_that_does_not_wait_for_the_disk(
    ops: list[Op], left_out: str
) -> None:
    """Neither for contents, nor for names."""
    born = next(number for number, op in enumerate(ops) if op.kind == "A")
    hasty = [op for number, op in enumerate(ops) if number < born or op.kind != left_out]
    found = await asyncio.to_thread(power_git.replay, hasty, 6)
    assert found.wrong
