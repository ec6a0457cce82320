"""A root with its runtime; nothing of it is left after the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.containers import Site, missing
from support.needs import lacking


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    if lack := missing():
        lacking(lack)
    made = Site(tmp_path / "root")
    try:
        yield made
    finally:
        await made.close()
