from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gateway_rig import Hive


@pytest.fixture
def hive(tmp_path: Path) -> Iterator[Hive]:
    run = Path(tempfile.mkdtemp(prefix="hg-"))  # short: the path of a unix socket is
    yield Hive(tmp_path / "root", run)
    shutil.rmtree(run)
