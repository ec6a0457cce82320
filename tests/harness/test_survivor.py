"""A process that outlives SIGKILL: the turn is over, and a new container is asked for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_broker import FakeBroker
from support.harness_process import HarnessProcess

from hive_wire.rpc_errors import RpcError

pytestmark = pytest.mark.slow

FREEZER = Path("/sys/fs/cgroup/freezer")
SCRIPT = """
[[rule]]
body = "loose"
[[rule.step]]
run = "setsid sh -c 'echo $$ > loose; exec sleep 1000' & sleep 1000"
"""


@pytest.fixture
def frozen() -> Iterator[Path]:
    """A group whose processes no signal reaches until it is thawed."""
    if not (FREEZER.is_dir() and os.access(FREEZER, os.W_OK)):
        pytest.skip("needs a writable cgroup v1 freezer")
    group = FREEZER / f"hive-test-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        (group / "freezer.state").write_text("THAWED")
        for _ in range(500):
            if not (group / "cgroup.procs").read_text():
                break
            os.sched_yield()
        group.rmdir()


@pytest.mark.root
async def test_what_cannot_be_killed_ends_the_harness(tmp_path: Path, frozen: Path) -> None:
    harness = HarnessProcess(tmp_path)
    harness.agent()
    harness.script(SCRIPT)
    async with FakeBroker(harness.run) as broker, harness:
        broker.post("loose")
        loose = harness.state / "loose"
        async with asyncio.timeout(20):
            while not (loose.exists() and loose.read_text().strip()):
                await asyncio.sleep(0.02)
        pid = int(loose.read_text())
        (frozen / "cgroup.procs").write_text(str(pid))
        (frozen / "freezer.state").write_text("FROZEN")
        with pytest.raises(RpcError, match="cannot be killed; the container starts anew"):
            await broker.call("command", command="cancel")
        assert harness.process is not None
        async with asyncio.timeout(20):
            assert await harness.process.wait() == 1
        assert "cannot be killed" in harness.log
        if not broker.ends:  # it is told by the next harness
            (frozen / "freezer.state").write_text("THAWED")
            await harness.start()
        assert (await broker.ended()).outcome == "cancelled"
        assert [state["state"] for state in broker.states].count("failed") >= 1
