"""One instance per root: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Taken(Exception):
    """Another process holds the lock; `pid` is 0 when it did not say."""

    def __init__(self, words: str, pid: int) -> None:
        super().__init__(f"{words} (process {pid or 'unknown'})")
        self.pid = pid


class Lock:
    """Held from creation until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Raises Taken."""
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid(self._handle)
            os.close(self._handle)
            raise Taken(f"{path} is locked", pid) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._handle)


@contextmanager
def alone(directory: Path, what: str, root: Path) -> Iterator[None]:
    """One `what` a root: holds the lock of its directory while entered. Raises Taken."""
    try:
        lock = Lock(directory / "lock")
    except Taken as taken:
        raise Taken(f"another {what} serves {root} already", taken.pid) from None
    try:
        yield
    finally:
        lock.release()


def holder(path: Path) -> int | None:
    """The process that holds the lock; None when nobody does."""
    try:
        lock = Lock(path)
    except Taken as taken:
        return taken.pid
    except FileNotFoundError:
        return None
    lock.release()
    return None


def _pid(handle: int) -> int:
    text = os.pread(handle, 32, 0).strip()
    return int(text) if text.isdigit() else 0
