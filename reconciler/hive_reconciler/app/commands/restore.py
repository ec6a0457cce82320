"""hive restore: a backup becomes a root again; `hive up` then goes on where it was."""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import shutil
from pathlib import Path

from hive_wire.lock import Lock, Taken
from hive_wire.paths import Layout

from ...core.files import BROKER_USER
from ...git.durable import move
from ...git.errors import ReadFailed
from ...git.store import CONFIG, INBOX_CONFIG, configure_libgit2, create_bare
from ...git.verify import verify as prove
from .. import archive
from ..client import CallFailed


def restore(layout: Layout, options: argparse.Namespace) -> int:
    source = Path(options.dir).absolute()
    manifest = archive.read_manifest(source)
    for path in (layout.hive_git, layout.broker / archive.DATABASE, layout.root / "agents"):
        if path.exists():
            raise CallFailed(f"{path} is there already; restore into a new root: --root DIR")
    layout.root.mkdir(parents=True, exist_ok=True, mode=0o755 if not layout.tag else 0o700)
    try:
        lock = Lock(layout.lock)
    except Taken:
        raise CallFailed(
            f"{layout.root} is up; stop it first: hive down --root {layout.root}"
        ) from None
    try:
        _put_back(layout, source)
    except (OSError, CallFailed) as error:
        raise CallFailed(
            f"not restored: {error}; remove {layout.root} before you try again"
        ) from None
    finally:
        lock.release()
    try:
        proof = prove(layout)
    except ReadFailed as error:
        raise CallFailed(f"{error.message}; the backup is not whole") from None
    print(f"{layout.root}: applied {proof.tip[:12]}, {proof.merges} merges proven")
    if proof.tip != manifest.applied or not proof.ok:
        raise CallFailed("the log of applied is not as it was; see: hive verify")
    print(f"Go on with: hive up --root {layout.root}")
    return 0


def _put_back(layout: Layout, source: Path) -> None:
    archive.unpack(source / "host.tar", layout.root, numbers=False)
    (layout.root / "agents").mkdir(mode=0o711)
    for packed in sorted((source / "agents").glob("*.tar")):
        home = layout.agent(packed.stem)
        home.mkdir(mode=0o711)
        archive.unpack(packed, home, numbers=True)
    _broker(layout, source / archive.DATABASE)
    configure_libgit2()
    if (source / archive.INBOX).exists():
        create_bare(layout.inbox_git, INBOX_CONFIG, 0o750).free()
        archive.unbundle(source / archive.INBOX, layout.inbox_git)
    fresh = layout.root / "hive.git.new"
    create_bare(fresh, CONFIG, 0o755 if not layout.tag else 0o700).free()
    archive.unbundle(source / archive.HIVE, fresh)
    os.sync()
    move(fresh, layout.hive_git)  # last: with it the root is one


def _broker(layout: Layout, database: Path) -> None:
    layout.broker.mkdir(mode=0o700, exist_ok=True)
    file = layout.broker / archive.DATABASE
    shutil.copyfile(database, file)
    file.chmod(0o600)
    if layout.tag or os.geteuid() != 0:
        return
    try:
        user, group = pwd.getpwnam(BROKER_USER).pw_uid, grp.getgrnam(BROKER_USER).gr_gid
    except KeyError:
        return  # hive up runs the broker as the caller
    for path in (layout.broker, file):
        os.chown(path, user, group)
