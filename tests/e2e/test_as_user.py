"""The story without root, by bubblewrap, as `nobody`."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.without_root import NOBODY, pytest_as


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.timeout(320)
def test_the_story_without_root() -> None:
    pytest_as(NOBODY, str(Path(__file__).with_name("test_story.py")))
