"""Hears from the kernel that the filter of private networks is gone: a reload of this machine's own
firewall flushes all tables there are, and with them ours."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator

_NETFILTER, _NFTABLES = 12, 7  # protocol and group of netlink
_NEW_TABLE, _DELETE_TABLE, _NEW_GENERATION = 0x0A00, 0x0A02, 0x0A0F
_NAME = 1  # attribute of a table
_MESSAGE = struct.Struct("=IHHII")
_FAMILY_HEADER = 4
_ATTRIBUTE = struct.Struct("=HH")
_AT_ONCE = 1 << 18


class Losses:
    """Whether changes of the kernel's tables, as it tells them, lost one for good: pure."""

    def __init__(self, table: str) -> None:
        self._table = table.encode()
        self._is_gone = False

    def heard(self, data: bytes) -> bool:
        """Whether a transaction that ended here left the table away. One that replaces it removes
        it first."""
        lost = False
        for kind, body in _messages(data):
            if kind == _NEW_GENERATION:  # the end of a transaction
                lost, self._is_gone = self._is_gone, False
            elif kind in (_NEW_TABLE, _DELETE_TABLE) and _name(body) == self._table:
                self._is_gone = kind == _DELETE_TABLE
        return lost


class FilterWatch:
    """Calls `on_loss` when `table` went away, and when that cannot be told. Raises OSError."""

    def __init__(self, table: str, on_loss: Callable[[], None]) -> None:
        self._losses = Losses(table)
        self._on_loss = on_loss
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, _NETFILTER)
        try:
            self._socket.bind((0, 1 << (_NFTABLES - 1)))
        except OSError:
            self._socket.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._hear)

    def _hear(self) -> None:
        lost = False
        while True:
            try:
                lost = self._losses.heard(self._socket.recv(_AT_ONCE)) or lost
            except BlockingIOError:
                break
            except OSError:  # more was said than it holds for us
                lost = True
        if lost:
            self._on_loss()

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each."""
    while len(data) >= _MESSAGE.size:
        length, kind, *_ = _MESSAGE.unpack_from(data)
        if length < _MESSAGE.size:
            return
        yield kind, data[_MESSAGE.size + _FAMILY_HEADER : length]
        data = data[(length + 3) & ~3 :]


def _name(attributes: bytes) -> bytes:
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if length < _ATTRIBUTE.size:
            break
        if kind == _NAME:
            return attributes[_ATTRIBUTE.size : length].rstrip(b"\0")
        attributes = attributes[(length + 3) & ~3 :]
    return b""
