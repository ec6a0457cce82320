"""Bodies of messages: the newest unsettled ones in memory, the rest on disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from hive_wire.rpc_errors import NOT_FOUND, RpcError

from ..store.reader import Reader
from ..store.rows import NewMessage

CACHE_BYTES = 8 << 20
MESSAGE_BYTES = 1000  # what a message costs in memory beside its body


class Bodies:
    """Messages, given out as JSON as `hive_wire.protocol.Message`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._cache: OrderedDict[int, NewMessage] = OrderedDict()
        self._bytes = 0

    def at_hand(self, ident: int) -> dict[str, Any] | None:
        found = self._cache.get(ident)
        return None if found is None else found.as_json()

    async def get(self, ident: int) -> dict[str, Any]:
        """Raises RpcError(NOT_FOUND)."""
        found = self.at_hand(ident) or await self._reader.message(ident)
        if found is None:
            raise RpcError(NOT_FOUND, f"there is no message {ident}")
        return found

    async def get_all(self, idents: Iterable[int]) -> list[dict[str, Any]]:
        return [await self.get(ident) for ident in idents]

    def remember(self, message: NewMessage) -> None:
        self._cache[message.id] = message
        self._bytes += MESSAGE_BYTES + len(message.body)
        while self._bytes > CACHE_BYTES:
            _, old = self._cache.popitem(last=False)
            self._bytes -= MESSAGE_BYTES + len(old.body)

    def forget(self, ident: int) -> None:
        found = self._cache.pop(ident, None)
        if found is not None:
            self._bytes -= MESSAGE_BYTES + len(found.body)
