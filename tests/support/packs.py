"""Packs made byte by byte, also such as git never makes."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence

BLOB, OFS, REF = 3, 6, 7


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0%s" % (len(data), data), usedforsecurity=False).hexdigest()


def pack(entries: Sequence[bytes], count: int | None = None) -> bytes:
    number = len(entries) if count is None else count
    return sealed(b"PACK" + struct.pack(">II", 2, number) + b"".join(entries))


def sealed(body: bytes) -> bytes:
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def whole(kind: int, data: bytes, size: int | None = None) -> bytes:
    return _head(kind, len(data) if size is None else size) + zlib.compress(data)


def ofs_delta(back: int, delta: bytes, size: int | None = None) -> bytes:
    digits = [back & 0x7F]
    while back := back >> 7:
        back -= 1
        digits.append(0x80 | back & 0x7F)
    head = _head(OFS, len(delta) if size is None else size)
    return head + bytes(reversed(digits)) + zlib.compress(delta)


def ref_delta(base: str, delta: bytes, size: int | None = None) -> bytes:
    head = _head(REF, len(delta) if size is None else size)
    return head + bytes.fromhex(base) + zlib.compress(delta)


def delta(before: int, after: int, steps: Iterable[bytes]) -> bytes:
    return number(before) + number(after) + b"".join(steps)


def copy(offset: int, size: int) -> bytes:
    """All seven bytes of both numbers."""
    return b"\xff" + struct.pack("<I", offset) + struct.pack("<I", size)[:3]


def insert(data: bytes) -> bytes:
    return b"".join(
        bytes([len(data[start : start + 127])]) + data[start : start + 127]
        for start in range(0, len(data), 127)
    )


def number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*found, value])


def _head(kind: int, size: int) -> bytes:
    first, rest = kind << 4 | size & 15, size >> 4
    return bytes([first | 0x80]) + number(rest) if rest else bytes([first])
