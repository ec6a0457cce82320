"""The end of a harness, in this process."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from hive_harness.app import Harness
from hive_harness.settings import parse
from hive_harness.spool import Spool


async def test_children_that_die_after_its_end_are_not_looked_for(tmp_path: Path) -> None:
    """There are no threads any more that could."""
    settings = parse(["--run", str(tmp_path / "run"), "--state", str(tmp_path / "state")])
    spool = Spool(settings.spool)
    spool.open()
    stop = asyncio.Event()
    stop.set()
    await Harness(settings, spool).run(stop)
    assert not asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
