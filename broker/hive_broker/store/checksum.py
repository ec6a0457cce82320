"""What tells a flipped bit from what was written."""

from __future__ import annotations

import zlib

_PARTS = ("sender", "sender_name", "recipient", "kind", "body", "data")
SQL = f"message_crc({', '.join(f'cast(m.{part} as blob)' for part in _PARTS)})"
"""The checksum of the row `m` as it is on disk; on connections that were taught."""

SOUND = f"m.crc = {SQL}"
DAMAGED = "(this message is damaged on disk and not shown)"


class Damaged(Exception):
    """A message on disk is not what was written. `ident` is its id."""

    def __init__(self, ident: int) -> None:
        super().__init__(f"message {ident} is damaged on disk")
        self.ident = ident


def message_crc(*parts: str | None) -> int:
    """CRC-32 of all of a message that its reader goes by: `_PARTS`, `data` as JSON."""
    return zlib.crc32("\0".join([part or "" for part in parts]).encode())


def text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _of_blobs(*parts: bytes | None) -> int:
    return zlib.crc32(b"\0".join(part or b"" for part in parts))


FUNCTION = ("message_crc", len(_PARTS), _of_blobs)
"""For `create_function`."""
