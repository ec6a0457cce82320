"""Telling broker and gateway who there is: whole to a new connection, later what changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from hive_wire.protocol import RegistryAgent, RegistryChange
from hive_wire.registry import PART, parts_of

from ..model.layered import since


class Speaker(Protocol):
    async def request(
        self, method: str, params: dict[str, Any] | None = None, *, timeout: float | None = 30.0
    ) -> Any: ...


class Announcer:
    """What one process knows of the registry, by uid."""

    def __init__(self) -> None:
        self.wanted: Mapping[str, RegistryAgent] | None = None
        self._told: Mapping[str, RegistryAgent] | None = None  # None: nothing is certain

    def forget(self) -> None:
        """The connection ended."""
        self._told = None

    async def tell(self, speaker: Speaker) -> set[str]:
        """The uids that it knows differently now. Raises RpcError, TimeoutError."""
        wanted, told = self.wanted, self._told
        if wanted is None or wanted is told:
            return set()
        uids = set(since(told or {}, wanted))
        self._told = None  # until it is answered
        if told is None or len(uids) > PART:
            for part in parts_of(list(wanted.values())):
                await speaker.request("registry.set", part.model_dump(mode="json"))
        else:
            agents = tuple(wanted[uid] for uid in uids if uid in wanted)
            change = RegistryChange(agents=agents, gone=tuple(uids - wanted.keys()))
            await speaker.request("registry.change", change.model_dump(mode="json"))
        self._told = wanted
        return uids
