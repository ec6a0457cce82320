from __future__ import annotations

from pathlib import Path

import pytest
from support.claude_cli import VERSION, NoCli, claude_cli
from support.needs import lacking


@pytest.fixture(scope="session")
def cli(request: pytest.FixtureRequest) -> Path:
    """The binary; without root the test is skipped where it cannot be fetched. `both_versions`
    asks for another version than the newest."""
    try:
        return claude_cli(getattr(request, "param", VERSION))
    except NoCli as error:
        lacking(str(error))
