"""Which databases are opened, how, and what becomes of older ones."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from hive_broker.store.database import APPLICATION_ID, DatabaseRefused, open_for_writing
from hive_broker.store.migrations import MIGRATIONS

V1 = Path(__file__).with_name("schema_v1.sql")


def test_it_is_durable_or_nothing(tmp_path):
    db = open_for_writing(tmp_path / "broker.db")
    assert db.execute("pragma synchronous").fetchone() == (2,)
    assert db.execute("pragma journal_mode").fetchone() == ("wal",)
    assert (tmp_path / "broker.db").stat().st_mode & 0o777 == 0o600
    db.close()
    open_for_writing(tmp_path / "broker.db").close()


def test_a_foreign_database_is_left_alone(tmp_path):
    path = tmp_path / "broker.db"
    db = sqlite3.connect(path)
    db.execute("create table mine(x)")
    db.commit()
    db.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseRefused, match="not a broker's database"):
        open_for_writing(path)
    assert path.read_bytes() == before


def test_a_newer_database_is_left_alone(tmp_path):
    path = tmp_path / "broker.db"
    db = open_for_writing(path)
    db.execute("pragma user_version = 99")
    db.close()
    with pytest.raises(DatabaseRefused, match="newer hyperhive"):
        open_for_writing(path)


def test_garbage_is_refused_in_words(tmp_path):
    path = tmp_path / "broker.db"
    path.write_bytes(os.urandom(9000))
    with pytest.raises(DatabaseRefused, match="move it away"):
        open_for_writing(path)


def test_a_file_that_was_never_filled_is_taken(tmp_path):
    path = tmp_path / "broker.db"
    db = sqlite3.connect(path)
    db.execute("pragma journal_mode=wal")
    db.close()
    open_for_writing(path, ()).close()
    path.with_name("empty.db").touch()
    open_for_writing(path.with_name("empty.db")).close()


def test_an_older_one_is_brought_up_to_date_and_a_copy_kept(tmp_path):
    path = tmp_path / "broker.db"
    open_for_writing(path).close()
    now = len(MIGRATIONS) + 1
    steps = ("create table added(x); insert into added values(7)", "alter table added add y")
    db = open_for_writing(path, (*MIGRATIONS, *steps))
    assert db.execute("select x, y from added").fetchall() == [(7, None)]
    db.close()
    copy = sqlite3.connect(path.with_name(f"broker.db.v{now}"))
    assert copy.execute("pragma user_version").fetchone() == (now,)
    copy.close()
    with pytest.raises(DatabaseRefused, match="newer"):
        open_for_writing(path)


def test_the_copy_is_whole_though_somebody_reads_the_database(tmp_path):
    path = tmp_path / "broker.db"
    open_for_writing(path).close()
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("begin")
    assert reader.execute("select count(*) from meta").fetchone() == (0,)
    writer = sqlite3.connect(path)
    with writer:
        writer.execute("insert into meta values('k', 7)")
    writer.close()
    open_for_writing(path, (*MIGRATIONS, "create table added(x)")).close()
    reader.close()
    copy = sqlite3.connect(path.with_name(f"broker.db.v{len(MIGRATIONS) + 1}"))
    assert copy.execute("select v from meta where k='k'").fetchall() == [(7,)]
    copy.close()


def test_an_older_one_ends_with_the_shape_of_a_new_one(tmp_path):
    old = sqlite3.connect(tmp_path / "old.db")
    old.executescript(
        f"{V1.read_text()}; pragma application_id={APPLICATION_ID}; pragma user_version=1"
    )
    old.close()
    assert shape(tmp_path / "old.db") == shape(tmp_path / "new.db")


def shape(path: Path) -> dict[str, Any]:
    """Columns and indexes of each table, whatever way they came to be."""
    db = open_for_writing(path)
    try:
        tables = [row[0] for row in db.execute("select name from sqlite_master where type='table'")]
        return {
            table: (
                sorted(row[1:] for row in db.execute(f"pragma table_info({table})")),
                sorted(
                    (row[1], *(c[2] for c in db.execute(f"pragma index_info({row[1]})")))
                    for row in db.execute(f"pragma index_list({table})")
                ),
            )
            for table in tables
        }
    finally:
        db.close()
