"""A file that takes up room until the disk is full: then its room lets turns end."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

BYTES = 1 << 20
SPARE = 1 << 20  # free beside the ballast before writes are taken again


class Ballast:
    """`full` from the first write that failed until there is room again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.full = False

    def ran_out(self) -> None:
        """A write failed for want of room."""
        self.full = True
        self._free()

    def look(self) -> None:
        """While it is full: see whether there is room again."""
        if self.full and self.keep():
            self.full = False

    def keep(self) -> bool:
        """Take up the room, if it is not taken yet. False when there is none."""
        try:
            if self._path.exists() and self._path.stat().st_blocks * 512 >= BYTES:
                return True
            if room(self._path.parent) < BYTES + SPARE:
                return False
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, BYTES)
        except OSError:
            self._free()
            return False
        return True

    def _free(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()


def room(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize
