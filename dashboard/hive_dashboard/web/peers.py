"""Which user of this machine is at the other end of a connection.

A browser sends its cookies to every port of a host name, so whoever listens on another one gets
them, as an agent with this machine's network may. They are worth nothing to it as long as a
session belongs to the user whose browser began it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from pathlib import Path
from weakref import WeakKeyDictionary

_TABLES = {4: Path("/proc/self/net/tcp"), 6: Path("/proc/self/net/tcp6")}
_UID = 7  # the field of a row; local and remote address are the second and the third
Place = tuple[str, int]  # address and port


class Peers:
    """What was found of the connections that are open."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[asyncio.BaseTransport, int | None] = WeakKeyDictionary()

    async def user(self, transport: asyncio.BaseTransport | None) -> int | None:
        """The uid of the process at the other end; None: it is on another machine, or gone."""
        if transport is None:
            return None
        if transport not in self._found:
            there, here = (transport.get_extra_info(name) for name in ("peername", "sockname"))
            if not there or not here:
                return None
            self._found[transport] = await asyncio.to_thread(owner, there[:2], here[:2])
        return self._found[transport]


def owner(there: Place, here: Place) -> int | None:
    """The uid that owns the socket on this machine whose own place is `there` and whose other end
    is `here`."""
    for version, table in _TABLES.items():
        ends = _written(there, version), _written(here, version)
        if None in ends:
            continue
        wanted = f" {ends[0]} {ends[1]} "
        row = next((row for row in _rows(table) if wanted in row), None)
        if row is not None:
            return int(row.split()[_UID])
    return None


def _rows(table: Path) -> list[str]:
    try:
        return table.read_text().splitlines()
    except FileNotFoundError:  # a kernel without IPv6
        return []


def _written(place: Place, version: int) -> str | None:
    """As the kernel writes it in the table of that version, if it can stand there: a socket of
    version 6 may speak with an address of version 4."""
    address = ipaddress.ip_address(place[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, ipaddress.IPv4Address) and version == 6:
        address = ipaddress.IPv6Address(f"::ffff:{address}")
    if address.version != version:
        return None
    packed = address.packed
    words = (packed[at : at + 4] for at in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(w, sys.byteorder):08X}" for w in words) + f":{place[1]:04X}"
