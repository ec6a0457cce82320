from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.claude_cli import VERSION, NoCli, claude_cli
from support.fake_broker import FakeBroker
from support.harness_process import ANSWER, HarnessProcess
from support.needs import lacking


@pytest.fixture(scope="session")
def cli(request: pytest.FixtureRequest) -> Path:
    """The binary; without root the test is skipped where it cannot be fetched. `both_versions`
    asks for another version than the newest."""
    try:
        return claude_cli(getattr(request, "param", VERSION))
    except NoCli as error:
        lacking(str(error))


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[HarnessProcess]:
    process = HarnessProcess(tmp_path)
    process.agent()
    process.script(ANSWER)
    yield process
    if process.process is not None:
        await process.kill()


@pytest.fixture
async def broker(harness: HarnessProcess) -> AsyncIterator[FakeBroker]:
    async with FakeBroker(harness.run) as fake:
        yield fake
