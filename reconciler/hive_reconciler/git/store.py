"""hive.git itself: creating, opening, refs that are only ever created or compared and swapped."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel, ObjectType

from .durable import RefChange, write
from .errors import Busy, ReadFailed
from .objects import Raw, object_id

APPLIED = "refs/heads/applied"
PROPOSALS = "refs/tags/proposal/"
CLOSED = "refs/tags/closed/"
ACCEPTED = "refs/tags/accepted/"
STATUS = "refs/status/"

NAME = "hyperhive"
MAIL = "hive-c0re@localhost"

CONFIG = {
    "core.logAllRefUpdates": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "receive.denyCurrentBranch": "refuse",
    "receive.denyNonFastForwards": "true",
    "receive.denyDeletes": "true",
    "transfer.hideRefs": "refs/status",
    "uploadpack.allowAnySHA1InWant": "false",
}

INBOX_CONFIG = {
    "core.sharedRepository": "group",
    "gc.auto": "0",
    "receive.denyDeletes": "false",
    "receive.maxInputSize": str(16 << 20),
    "transfer.fsckObjects": "true",
}


def configure_libgit2() -> None:
    """Durable writes, and nothing of the user's or the machine's git configuration."""
    pygit2.settings.enable_fsync_gitdir(True)
    for level in (ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL):
        pygit2.settings.search_path[level] = ""


def create_bare(path: Path, config: dict[str, str], mode: int) -> pygit2.Repository:
    """A bare repository with files refs and sha1, without hooks."""
    repo = pygit2.init_repository(path, bare=True, initial_head="applied")
    for key, value in config.items():
        repo.config[key] = value
    shutil.rmtree(path / "hooks", ignore_errors=True)
    os.chmod(path, mode)
    return repo


def open_bare(path: Path) -> pygit2.Repository:
    """Raises ReadFailed when it is no usable repository."""
    try:
        return pygit2.Repository(str(path), pygit2.enums.RepositoryOpenFlag.NO_SEARCH)
    except (pygit2.GitError, OSError, KeyError) as error:
        raise ReadFailed(
            f"{path} cannot be opened: {error}. Restore it from a backup, or move it away to "
            "start anew"
        ) from None


def host_name() -> str:
    """This machine's name, as part of a ref."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:60].strip("-") or "host"


class Store:
    """Objects and refs of one bare repository. Used in the git thread only."""

    def __init__(self, repo: pygit2.Repository, lock: Path) -> None:
        self.repo = repo
        self._lock = lock
        self._depth = 0

    def ref(self, name: str) -> str | None:
        """The OID that a direct ref points to. Raises ReadFailed, never None for a failure."""
        try:
            return str(self.repo.lookup_reference(name).target)
        except KeyError:
            return None
        except (pygit2.GitError, OSError, ValueError) as error:
            raise ReadFailed(f"{name} of {self.repo.path} cannot be read: {error}") from None

    def refs(self, prefix: str) -> dict[str, str]:
        """{name after prefix: OID} of all refs under `prefix`."""
        found: dict[str, str] = {}
        try:
            for ref in self.repo.listall_reference_objects():
                if ref.name.startswith(prefix):
                    found[ref.name[len(prefix) :]] = str(ref.target)
        except (pygit2.GitError, OSError) as error:
            raise ReadFailed(f"the refs of {self.repo.path} cannot be read: {error}") from None
        return found

    def land(self, objects: Sequence[tuple[str, Raw]], *changes: RefChange) -> None:
        """Put objects on disk, then change refs, as `durable.write` does. Raises Conflict when a
        ref exists or moved, Busy when a lock file is in the way, OSError when the disk is full."""
        try:
            with self.locked():
                write(self.repo.path, objects, changes, self.ref)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            names = " and ".join(change.name for change in changes)
            raise Busy(
                f"{names} cannot be written: {error}. If no other program works on it, the lock "
                "is a leftover, and a new start of the reconciler removes it"
            ) from None

    def tag(self, name: str, target: str, message: str, at: float | None = None) -> None:
        """An annotated tag `refs/tags/<name>`, create-only. Raises as `land` does."""
        text = self.tag_text(name, target, message, time.time() if at is None else at)
        oid = object_id(ObjectType.TAG, text)
        self.land([(oid, (ObjectType.TAG, text))], RefChange(f"refs/tags/{name}", oid, None))

    @staticmethod
    def tag_text(name: str, target: str, message: str, at: float) -> bytes:
        """The object that `tag` writes."""
        head = f"object {target}\ntype commit\ntag {name}\ntagger {NAME} <{MAIL}> {int(at)} +0000"
        return f"{head}\n\n{message}".encode()

    def message(self, tag: str) -> str:
        """The message of an annotated tag, by its OID. Raises ReadFailed."""
        try:
            return self.repo[tag].peel(pygit2.Tag).message or ""
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise ReadFailed(f"tag {tag} cannot be read: {error}") from None

    def commit(self, oid: str) -> pygit2.Commit:
        """Raises ReadFailed when it is missing or no commit."""
        try:
            return self.repo[oid].peel(pygit2.Commit)
        except (KeyError, ValueError, pygit2.GitError) as error:
            raise ReadFailed(f"commit {oid} cannot be read: {error}") from None

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor, None where there is none."""
        found = self.repo.merge_base(pygit2.Oid(hex=one), pygit2.Oid(hex=other))
        return None if found is None else str(found)

    @staticmethod
    def commit_text(message: str, tree: str, parents: Sequence[str]) -> bytes:
        """A commit in our name, now."""
        who = f"{NAME} <{MAIL}> {int(time.time())} +0000"
        lines = [f"tree {tree}", *(f"parent {oid}" for oid in parents)]
        lines += [f"author {who}", f"committer {who}"]
        return "\n".join([*lines, "", message]).encode()

    def tree_of(self, commit: str) -> str:
        return str(self.commit(commit).tree_id)

    def remove_stale_locks(self) -> None:
        """Lock files of a writer that was killed: who lives holds the one lock to write."""
        folder = Path(self.repo.path)
        with self.locked():
            for lock in (*folder.glob("*.lock"), *(folder / "refs").rglob("*.lock")):
                lock.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The one lock, over processes, under which refs are written. May be nested."""
        if self._depth:
            yield
            return
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
