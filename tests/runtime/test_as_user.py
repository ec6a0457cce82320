"""The same tests once more without root: as an unprivileged user with the other runtime."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.without_root import pytest_as

pytestmark = [pytest.mark.root, pytest.mark.slow]

USER = 60000 + os.getpid() % 5000  # no account: limits and files of others stay apart
FILES = (
    "test_lifecycle.py",
    "test_adoption.py",
    "test_escape.py",
    "test_process.py",
    "test_toolchain.py",
    "test_userland.py",
)


@pytest.mark.timeout(320)
@pytest.mark.parametrize("file", FILES)
def test_without_root(file: str) -> None:
    pytest_as(USER, str(Path(__file__).with_name(file)))
