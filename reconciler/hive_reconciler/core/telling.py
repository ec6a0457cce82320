"""Who is told of each round: broker and gateway of the agents, requesters of their wishes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from hive_wire.rpc_errors import RpcError

from ..model.layered import since
from .broker import Broker
from .gateway import Gateway
from .operations import Operations
from .outcomes import Outcomes
from .picture import Picture
from .slices import in_slices

log = logging.getLogger(__name__)


class Telling:
    """What somebody could not take is told with the next round."""

    def __init__(
        self,
        picture: Picture,
        operations: Operations,
        broker: Broker,
        gateway: Gateway,
        outcomes: Outcomes,
    ) -> None:
        self._picture = picture
        self._operations = operations
        self._broker = broker
        self._gateway = gateway
        self._outcomes = outcomes
        self._roomed: Mapping[str, object] = {}  # agents with directories for their sockets

    async def tell(self, unsettled: frozenset[str]) -> None:
        """Registry, fences of a former process, and what requesters wait for."""
        picture = self._picture
        assert picture.desired is not None
        known = await in_slices(picture.registering())
        try:  # broker and gateway bind when they are told, so the directories come first
            come = (uid for uid in since(self._roomed, known) if uid not in self._roomed)
            if rooms := sorted(come):
                await asyncio.to_thread(self._operations.make_rooms, rooms)
            self._roomed = known
            await self._broker.publish(known)
            await self._gateway.publish(known)
            await self._lift_fences()
        except (RpcError, OSError) as error:
            log.warning("broker or gateway are not told: %s", error)
        standing = picture.standing(unsettled)
        if standing is not None:
            await self._outcomes.tell(standing)

    async def _lift_fences(self) -> None:
        if not self._broker.fences_left or not self._broker.link.is_up:
            return
        self._broker.fences_left = False
        try:
            for uid in await self._broker.fences():
                if uid not in self._operations.under_way:
                    await self._broker.unfence(uid)
                else:  # its own fence, or one that nobody else lifts
                    self._broker.fences_left = True
        except BaseException:
            self._broker.fences_left = True
            raise
