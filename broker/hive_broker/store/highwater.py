"""The highest ids that were ever on disk, beside the database.

SQLite ends its log silently at a damaged frame: what was committed behind it is gone and
every check says ok. Written after each commit, never synced: it may be too low after a
power cut, never too high.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

_ROW = struct.Struct("<QQ")
_SUM = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Marks:
    message: int = 0
    event: int = 0


class HighWater:
    """One small file, overwritten in place."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.marks = self._read()

    def raise_to(self, marks: Marks) -> None:
        """What cannot be written is only not known after a crash."""
        if marks == self.marks:
            return
        self.marks = marks
        row = _ROW.pack(marks.message, marks.event)
        try:
            os.pwrite(self._file, row + _SUM.pack(zlib.crc32(row)), 0)
        except OSError:
            return

    def close(self) -> None:
        os.close(self._file)

    def _read(self) -> Marks:
        raw = os.pread(self._file, _ROW.size + _SUM.size, 0)
        if len(raw) != _ROW.size + _SUM.size:
            return Marks()
        row, (checksum,) = raw[: _ROW.size], _SUM.unpack(raw[_ROW.size :])
        return Marks(*_ROW.unpack(row)) if zlib.crc32(row) == checksum else Marks()
