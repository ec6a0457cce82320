"""The real CLI, when it can be had."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.claude_cli import NoCli, claude_cli
from support.needs import lacking


@pytest.fixture(scope="session")
def cli() -> Path:
    """The binary; without root the test is skipped where it cannot be fetched."""
    try:
        return claude_cli()
    except NoCli as error:
        lacking(str(error))
