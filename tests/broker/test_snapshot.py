"""The copy of the database that a backup is made of."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hive_broker.server import serving
from hive_broker.service.app import App
from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with serving(Layout.of(tmp_path)) as served:
        yield served


def files(app: App) -> list[str]:
    return sorted(file.name for file in app.broker.path.parent.glob("snapshot*"))


async def test_it_has_its_name_only_once_it_is_whole(app, monkeypatch):
    """Two backups at once: what the first copies is what the second makes anew."""
    there: list[list[str]] = []

    class Watched(sqlite3.Connection):
        def backup(self, target: sqlite3.Connection, **options: object) -> None:
            super().backup(target, **options)  # type: ignore[arg-type]
            there.append(files(app))

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, factory=Watched, **k))
    made = await app.snapshot.make()
    assert there
    assert all("snapshot.db" not in names for names in there)
    assert files(app) == [made.name]
    await app.snapshot.drop()
    assert files(app) == []


async def test_what_a_killed_broker_left_of_one_goes_at_the_next_start(tmp_path):
    layout = Layout.of(tmp_path)
    layout.broker.mkdir(parents=True)
    for name in ("snapshot.db", "snapshot.db.new"):
        (layout.broker / name).write_text("half")
    async with serving(layout) as app:
        assert files(app) == []


async def test_it_leaves_room_for_others(app, monkeypatch):
    monkeypatch.setattr("hive_broker.service.snapshot.room", lambda _: 8 << 20)
    with pytest.raises(RpcError, match="which has 8 MiB left: free some space"):
        await app.snapshot.make()
    assert files(app) == []
