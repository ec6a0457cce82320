"""What most tests of the broker begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.broker_rig import Rig, rig


@pytest.fixture
async def hive(tmp_path: Path) -> AsyncIterator[Rig]:
    """A real broker on an empty root."""
    async with rig(tmp_path) as found:
        yield found
