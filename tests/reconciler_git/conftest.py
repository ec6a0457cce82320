from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.git_work import Clone, Push, git, manager_of

from hive_reconciler.git.hive import Hive
from hive_reconciler.model.proposal import Requester
from hive_wire.paths import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.of(tmp_path / "root")


@pytest.fixture
async def hive(layout: Layout) -> AsyncIterator[Hive]:
    opened = await Hive.open(layout, runtime_reads_nix=False)
    yield opened
    await opened.close()


@pytest.fixture
async def manager(hive: Hive) -> Requester:
    return await manager_of(hive)


@pytest.fixture
def user() -> Requester:
    return Requester.user("ada")


@pytest.fixture
async def clone(hive: Hive, layout: Layout, tmp_path: Path) -> Clone:
    return Clone(layout.hive_git, tmp_path / "clone")


@pytest.fixture
def push(clone: Clone, layout: Layout) -> Push:
    def push(topic: str) -> None:
        target = f"HEAD:refs/heads/proposed/{topic}"
        git(clone.path, "push", "-q", "-f", str(layout.inbox_git), target)

    return push


@pytest.fixture
def place() -> Iterator[Path]:
    """Where others may look, unlike a test's own directory."""
    path = Path(tempfile.mkdtemp(prefix="hive-place-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
