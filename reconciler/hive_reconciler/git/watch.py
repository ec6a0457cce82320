"""A hint that refs moved. It may be missed or be about nothing; comparing refs is the truth."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

DEBOUNCE = 0.05  # seconds


class Watch(FileSystemEventHandler):
    """Watches the refs of some repositories and calls back in the loop, debounced."""

    def __init__(self, repositories: tuple[Path, ...], on_hint: Callable[[], None]) -> None:
        self._repositories = repositories
        self._on_hint = on_hint
        self._loop = asyncio.get_running_loop()
        self._pending: asyncio.TimerHandle | None = None
        self._observer: BaseObserver | None = None
        self._lock = threading.Lock()  # a cancelled wait does not end a start in its thread
        self._closed = False
        self._seen: tuple[tuple[int, int], ...] = ()

    def start(self) -> None:
        """Watch, anew if a directory is another by now. Blocks: call it in a thread.

        Raises OSError where a directory is missing or the kernel has no watches left.
        """
        with self._lock:
            if not self._closed:
                self._start()

    def stop(self) -> None:
        """For good: a start that is under way in another thread ends with it, a later one is none.

        Blocks until the observer's thread has ended.
        """
        with self._lock:
            self._closed = True
            self._end()

    def _start(self) -> None:
        now = tuple(_identity(path / "refs") for path in self._repositories)
        observer = self._observer
        if now == self._seen and observer is not None and observer.is_alive():
            return
        self._end()
        observer = Observer()
        for path in self._repositories:
            observer.schedule(self, str(path))
            observer.schedule(self, str(path / "refs"), recursive=True)
        try:
            observer.start()
        except OSError:
            observer.unschedule_all()  # some of it may watch already
            raise
        self._observer, self._seen = observer, now

    def _end(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    @property
    def pending(self) -> bool:
        """Whether a hint is on its way."""
        return self._pending is not None

    def dispatch(self, event: FileSystemEvent) -> None:
        """In the observer's thread. What an event means is not trusted, only that there is one.

        Status refs are our own observations: what we write must not wake us."""
        if "/refs/status/" in str(event.src_path):
            return
        if event.event_type in ("opened", "closed_no_write") or str(event.src_path).endswith(
            ".lock"
        ):
            moved_to = str(getattr(event, "dest_path", "") or "")
            if not moved_to or moved_to.endswith(".lock"):
                return
        try:
            self._loop.call_soon_threadsafe(self._arm)
        except RuntimeError:
            pass  # the loop has ended before us: nobody wants hints any more

    def _arm(self) -> None:
        if self._pending is None:
            self._pending = self._loop.call_later(DEBOUNCE, self._fire)

    def _fire(self) -> None:
        self._pending = None
        self._on_hint()


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
