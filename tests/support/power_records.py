"""What `power_trace.c` wrote down."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEAD = struct.Struct("<c3xiqq")


@dataclass(frozen=True)
class Op:
    """`file` is a path below the traced folder. `kind`: C made or opened anew, W a write, T a
    truncation, S a sync; U a removal; M a folder made, D a folder's sync; R a file moved and L
    linked from `file` to the path in `data`; A words on a socket. `opened` is the number of the
    opening that it came through."""

    kind: str
    file: str
    offset: int
    data: bytes
    opened: int = 0


def records(path: Path) -> Iterator[Op]:
    raw, at, names = path.read_bytes(), 0, {0: ""}
    while at < len(raw):
        letter, opened, offset, length = _HEAD.unpack_from(raw, at)
        data = raw[at + _HEAD.size : at + _HEAD.size + length]
        at += _HEAD.size + length
        kind, name = letter.decode(), names[opened] if letter != b"N" else ""
        if kind == "N":
            names[opened] = data.decode()
            continue
        if kind in "UMRL":
            old, _, new = data.partition(b"\0")
            name, data = old.decode(), new
        yield Op(kind, name, offset, data, opened)
