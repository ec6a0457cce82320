"""hive backup: everything that a new machine needs, at one moment."""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from hive_wire.lock import Lock, Taken
from hive_wire.paths import Layout
from hive_wire.rpc_errors import UNAVAILABLE

from ...model.version import VERSION
from .. import archive
from ..client import CallFailed, Client
from ..held import Held
from .common import host

LISTED = 10  # files of an agent that could not be read


def backup(layout: Layout, options: argparse.Namespace) -> int:
    target = Path(options.dir).absolute()
    if not layout.hive_git.exists():
        raise CallFailed(f"there is no swarm at {layout.root}; name its root with --root")
    if not os.access(layout.keys, os.R_OK | os.X_OK):
        raise CallFailed(f"you may not read {layout.root}; use sudo")
    if target.exists() and any(target.iterdir()):
        raise CallFailed(f"{target} is not empty; name a new directory")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    target.chmod(0o700)  # it holds the host's key and what agents know
    try:
        with _still(layout) as broker:
            manifest = _collect(layout, target, broker)
    except OSError as error:
        raise CallFailed(f"the backup is not whole: {error}") from None
    os.sync()
    manifest.write(target)
    os.sync()
    names = ", ".join(sorted(manifest.agents.values()))
    print(f"{target}: applied {manifest.applied[:12]}, {names}")
    print("Put it back with: hive restore DIR --root NEW")
    return 0


@contextmanager
def _still(layout: Layout) -> Iterator[Client | None]:
    """Nothing moves: the swarm is held, or is down and stays so."""
    try:
        broker = Client(layout, "broker", timeout=600)
    except CallFailed as error:
        if error.code != UNAVAILABLE:
            raise
        with _down(layout):
            yield None
        return
    with broker, Held(layout):
        yield broker


@contextmanager
def _down(layout: Layout) -> Iterator[None]:
    if _listens(layout):
        raise CallFailed("the reconciler runs, but its broker is away; see: hive status")
    try:
        lock = Lock(layout.lock)
    except Taken:
        raise CallFailed("hive up runs, but its broker is away; see: hive status") from None
    try:
        yield
    finally:
        lock.release()


def _listens(layout: Layout) -> bool:
    try:
        host(layout).close()
    except CallFailed:
        return False
    return True


def _collect(layout: Layout, target: Path, broker: Client | None) -> archive.Manifest:
    _snapshot(layout, target / archive.DATABASE, broker)
    archive.bundle(layout.hive_git, target / archive.HIVE)
    if layout.inbox_git.exists():
        archive.bundle(layout.inbox_git, target / archive.INBOX)
    missing = archive.pack(layout.root, archive.HOST_PARTS, target / "host.tar", archive.EXCLUDED)
    if missing:
        raise CallFailed(f"the host's own files cannot be read: {missing[0]}")
    (target / "agents").mkdir()
    names = _names(target / archive.DATABASE)
    homes = sorted((layout.root / "agents").glob("*/"))
    for home in homes:
        closed = archive.pack(home, archive.AGENT_PARTS, target / "agents" / f"{home.name}.tar")
        _say_left_out(names.get(home.name, home.name), closed)
    applied = archive.bundled(target / archive.HIVE, layout.hive_git, "refs/heads/applied")
    agents = {home.name: names.get(home.name, "?") for home in homes}
    root = str(layout.root)
    return archive.Manifest(archive.FORMAT, VERSION, root, time.time(), applied, agents)


def _say_left_out(name: str, files: list[str]) -> None:
    """Of an agent's files that nobody may read; they come from the agent, so: printable."""
    for file in files[:LISTED]:
        shown = "".join(c if c.isprintable() else "?" for c in file)
        print(f"left out of {name}'s state: {shown}", file=sys.stderr)
    if len(files) > LISTED:
        print(f"left out of {name}'s state: {len(files) - LISTED} more", file=sys.stderr)


def _snapshot(layout: Layout, file: Path, broker: Client | None) -> None:
    """The broker makes a copy of its own database; when it is down, SQLite does here."""
    if broker is not None:
        path = Path(broker.call("snapshot")["path"])
        try:
            shutil.copyfile(path, file)
        finally:
            broker.call("snapshot.drop")
    else:
        source = layout.broker / archive.DATABASE
        with closing(sqlite3.connect(source)) as db, closing(sqlite3.connect(file)) as copy:
            db.backup(copy)
    file.chmod(0o600)
    with closing(sqlite3.connect(file)) as copy:
        found = [row[0] for row in copy.execute("pragma quick_check(1)")]
    if found != ["ok"]:
        raise CallFailed(f"the broker's database is damaged: {found[0]}; hive status says more")


def _names(database: Path) -> dict[str, str]:
    with closing(sqlite3.connect(database)) as db:
        return dict(db.execute("select uid, name from agent").fetchall())
