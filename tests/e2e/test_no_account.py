"""`hive up` by a uid that no account has, as in many containers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.swarm import Swarm
from support.without_root import pytest_as


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_without_an_account() -> None:
    pytest_as(60000 + os.getpid() % 5000, __file__)


@pytest.mark.skipif(os.geteuid() == 0, reason="runs again as a user from the test above")
async def test_it_comes_up_and_goes_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    swarm = Swarm(tmp_path / "root", "--rehearse")
    try:
        await swarm.start()
        assert swarm.link
        assert await swarm.stop() == 0
    finally:
        await swarm.kill()
