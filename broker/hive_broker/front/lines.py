"""Lines from a client that may send anything: too long ones are skipped, not fatal.

Their ends are kept, because the one who waits for the answer is named in there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from hive_wire.frames import MAX_FRAME

END_BYTES = 2048
_ID = re.compile(rb'"id"\s*:\s*(\d{1,18}|"(?:[^"\\]|\\.){0,200}")\s*[,}]')


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line over the limit: its size, its first and last bytes."""

    size: int
    head: bytes
    tail: bytes

    def request_id(self) -> int | str | None:
        """The JSON-RPC id of the request that the line seems to hold. Clients put it
        either before the params or behind them."""
        for part in (re.split(rb'"params"', self.head)[0], self.tail):
            found = _ID.findall(part)
            if found:
                return orjson.loads(found[-1])  # type: ignore[no-any-return]
        return None


class Lines:
    """Cuts a byte stream into lines; holds at most `limit` bytes."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._limit = limit
        self._held = bytearray()
        self._skipped = 0  # bytes of the line that is being skipped, 0 when none is
        self._head = b""

    def feed(self, data: bytes) -> list[bytes | TooLong]:
        """What `data` completes."""
        *ends, rest = data.split(b"\n")
        found: list[bytes | TooLong] = []
        for piece in ends:
            self._take(piece)
            line = self._finish()
            if line:
                found.append(line)
        self._take(rest)
        return found

    def _take(self, piece: bytes) -> None:
        self._held += piece
        if self._skipped or len(self._held) > self._limit:
            if not self._skipped:
                self._head = bytes(self._held[:END_BYTES])
            cut = max(0, len(self._held) - END_BYTES)
            self._skipped += cut
            del self._held[:cut]

    def _finish(self) -> bytes | TooLong:
        held, self._held = bytes(self._held), bytearray()
        if not self._skipped:
            return held
        skipped, self._skipped = self._skipped, 0
        return TooLong(skipped + len(held), self._head, held)
