"""What a test cannot go without. As root ./check installs it: there, a lack is a failure."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

STRICT = "HIVE_TESTS_STRICT"  # set where a suite of root runs a part of itself as a user


def lacking(what: str) -> NoReturn:
    """End this test: skipped for a user without root, who may not install `what`."""
    if os.geteuid() == 0 or STRICT in os.environ:
        pytest.fail(f"{what}; for root nothing is skipped, ./check installs what tests need")
    pytest.skip(what)


def need(*programs: str) -> None:
    """Programs that must be on PATH."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        lacking(f"not installed: {', '.join(missing)}")
