"""kill -9 in front of every step on the disk: what is there is complete, and can be gone on with."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from support import killed_writer

from hive_reconciler.git.hive import Hive
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout


@pytest.mark.slow
@pytest.mark.timeout(240)  # each step is a life and a look at what it left
@pytest.mark.parametrize("what", ["submit", "refuse", "approve", "deny", "withdraw"])
async def test_a_writer_killed_at_any_step(
    hive: Hive, user: Requester, layout: Layout, what: str
) -> None:
    await hive.submit_spawn(user, "scout", "looks around")
    await hive.close()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", killed_writer.__file__, str(layout.root), what),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin:/usr/local/bin"},
        cwd=Path(killed_writer.__file__).parents[1],
    )
    out, words = await child.communicate()
    assert child.returncode == 0, words.decode()[-3000:]
    assert int(out) >= 10, "every lock, object, sync and rename is a step"
