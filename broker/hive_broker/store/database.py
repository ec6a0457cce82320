"""Opens the database: ours, of our version, and truly durable, or not at all."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from .migrations import MIGRATIONS
from .teaching import teach

APPLICATION_ID = 0x48495645  # "HIVE"
FULL = 2

_PRAGMAS = """
pragma synchronous=full; pragma wal_autocheckpoint=1000; pragma journal_size_limit=67108864;
pragma busy_timeout=5000; pragma cache_size=-8000; pragma cell_size_check=on;
pragma trusted_schema=off;
"""


PRIMARY = 0xFF  # of an SQLite code; the rest says where: a damaged index has one of its own
_DISK = "nothing is lost; see to the disk, and to who may write there, then start again"
_TO_DO = {
    sqlite3.SQLITE_FULL: "nothing is lost; free some space, then start again",
    sqlite3.SQLITE_BUSY: "another program has it open: end that one, then start again",
    sqlite3.SQLITE_CANTOPEN: _DISK,
    sqlite3.SQLITE_IOERR: _DISK,
    sqlite3.SQLITE_READONLY: _DISK,
}


class DatabaseRefused(Exception):
    """The file cannot be used; says why and what to do."""


def open_for_writing(path: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """The one connection that ever writes, in WAL with synchronous=FULL.

    Makes the file when it is not there, brings an older one up to date after putting a
    copy beside it. Raises DatabaseRefused.
    """
    try:
        return _open(path, migrations)
    except sqlite3.DatabaseError as error:
        raise refusal(path, error) from None


def refusal(path: Path, error: Exception) -> DatabaseRefused:
    """What to do about an error met while the file was opened or read."""
    code = getattr(error, "sqlite_errorcode", 0) & PRIMARY
    to_do = _TO_DO.get(code, "move it away to begin anew, or restore a backup")
    what = f"{error}" if isinstance(error, sqlite3.Error) else f"a row of it is damaged ({error!r})"
    return DatabaseRefused(f"{path} cannot be used: {what.splitlines()[0]}; {to_do}")


def _open(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    fresh = not path.exists() or _is_fresh(path, newest=len(migrations) + 1)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    teach(db)
    try:
        if fresh:
            db.execute("pragma auto_vacuum=incremental")
        db.execute("pragma journal_mode=wal")
        db.executescript(_PRAGMAS)
        if fresh:
            _create(db, len(migrations) + 1)
        else:
            _migrate(db, path, migrations)
        if db.execute("pragma synchronous").fetchone() != (FULL,):
            raise DatabaseRefused(f"{path}: SQLite does not keep synchronous=FULL here")
    except BaseException:
        db.close()
        raise
    path.chmod(0o600)
    return db


def _is_fresh(path: Path, newest: int) -> bool:
    """Whether the file was begun but never filled. Looks without changing a byte of it.

    Raises DatabaseRefused when it holds what is not ours or is too new.
    """
    cut_off = path.with_name(path.name + "-journal").exists()  # SQLite puts that right first
    mode = "rw" if cut_off else "ro"
    look = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)
    try:
        application = look.execute("pragma application_id").fetchone()[0]
        version = look.execute("pragma user_version").fetchone()[0]
        tables = look.execute("select count(*) from sqlite_master").fetchone()[0]
    finally:
        look.close()
    if application == 0 and tables == 0:
        return True
    if application != APPLICATION_ID:
        raise DatabaseRefused(f"{path} is not a broker's database; move it away")
    if version > newest:
        raise DatabaseRefused(
            f"{path} was written by a newer hyperhive (schema {version}, this one knows {newest}); "
            "upgrade, or restore an older backup"
        )
    return False


def _create(db: sqlite3.Connection, version: int) -> None:
    schema = Path(__file__).with_name("schema.sql").read_text()
    db.executescript(
        f"begin immediate; {schema}; pragma application_id={APPLICATION_ID};"
        f" pragma user_version={version}; commit"
    )


def _migrate(db: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    version = db.execute("pragma user_version").fetchone()[0]
    if version == len(migrations) + 1:
        return
    _keep_copy(db, path.with_name(f"{path.name}.v{version}"))
    for step in range(version, len(migrations) + 1):
        db.executescript(
            f"begin immediate; {migrations[step - 1]}; pragma user_version={step + 1}; commit"
        )


def _keep_copy(db: sqlite3.Connection, copy: Path) -> None:
    """On disk under its name only once it is whole, whoever reads the database meanwhile."""
    beside = copy.with_name(copy.name + ".new")
    beside.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(beside)) as to:
            db.backup(to)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    beside.rename(copy)
