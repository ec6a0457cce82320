"""hive.git itself: creating, opening, refs that are only ever created or compared and swapped."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel, ObjectType

from .errors import Busy, Conflict, ReadFailed

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


def signature(at: float | None = None) -> pygit2.Signature:
    return pygit2.Signature(NAME, MAIL, int(time.time() if at is None else at), 0)


def _is_full(error: OSError) -> bool:
    """libgit2 says it in words only."""
    return error.errno == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error)


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

    def create_ref(self, name: str, oid: str) -> None:
        """Raises Conflict when it exists."""
        with self._writing(name):
            self.repo.create_reference_direct(name, pygit2.Oid(hex=oid), False)

    def swap_ref(self, name: str, new: str, old: str) -> None:
        """Set `name` to `new` if it is still `old`. Raises Conflict when it moved."""
        with self._writing(name):
            ref = self.repo.lookup_reference(name)
            if str(ref.target) != old:
                raise Conflict(f"{name} moved to {ref.target}; look again")
            ref.set_target(pygit2.Oid(hex=new))

    def put_ref(self, name: str, oid: str) -> None:
        """Create or move an observation (a status ref)."""
        with self._writing(name):
            self.repo.create_reference_direct(name, pygit2.Oid(hex=oid), True)

    def tag(self, name: str, target: str, message: str, at: float | None = None) -> None:
        """An annotated tag `refs/tags/<name>`, create-only. Raises Conflict when it exists."""
        oid, who = pygit2.Oid(hex=target), signature(at)
        with self._writing(f"refs/tags/{name}"):
            self.repo.create_tag(name, oid, ObjectType.COMMIT, who, message)

    @staticmethod
    def tag_text(name: str, target: str, message: str, at: float) -> bytes:
        """The object that `tag` would write."""
        head = f"object {target}\ntype commit\ntag {name}\ntagger {NAME} <{MAIL}> {int(at)} +0000"
        return f"{head}\n\n{message}".encode()

    @contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        """Raises Conflict when the ref exists or moved, Busy when a lock file is in the way,
        OSError when the disk is full."""
        try:
            with self.locked():
                yield
        except OSError as error:
            if _is_full(error):
                raise
            raise Busy(
                f"{name} cannot be written: {error}. If no other program works on it, the lock "
                "is a leftover, and a new start of the reconciler removes it"
            ) from None
        except (pygit2.AlreadyExistsError, pygit2.GitError, ValueError) as error:
            raise Conflict(f"{name} exists already or moved: {error}") from None

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

    def create_commit(self, message: str, tree: str, parents: Sequence[str]) -> str:
        """A commit in our name; no ref."""
        text = self._commit_text(message, tree, parents)
        return str(self.repo.odb.write(ObjectType.COMMIT, text.encode()))

    def create_merge(
        self, message: str, tree: str, parents: Sequence[str], sign: Callable[[str], str | None]
    ) -> str:
        """A merge commit in our name, signed where that is possible; no ref."""
        text = self._commit_text(message, tree, parents)
        signed = sign(text)
        if signed is None:
            return str(self.repo.odb.write(ObjectType.COMMIT, text.encode()))
        return str(self.repo.create_commit_with_signature(text, signed, "gpgsig"))

    def _commit_text(self, message: str, tree: str, parents: Sequence[str]) -> str:
        who = signature()
        return str(self.repo.create_commit_string(who, who, message, tree, list(parents)))

    def tree_of(self, commit: str) -> str:
        return str(self.commit(commit).tree_id)

    def write_blob(self, data: bytes) -> str:
        return str(self.repo.create_blob(data))

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
