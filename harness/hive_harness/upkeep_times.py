"""When upkeep is done: between turns, of the conversation where a turn might begin; of the process."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator

from .agentfile import BadAgentFile
from .engine.keeper import SessionLost
from .engine.launch import Launch
from .engine.policy import Policy
from .engine.process import EngineGone
from .engine.resident import ResidentEngine

log = logging.getLogger(__name__)


class UpkeepTimes:
    """`choices` raises BadAgentFile; `may` says whether the model may be asked between turns;
    `shows` hears when that begins and ends. Both methods raise ShuttingDown."""

    def __init__(
        self,
        engine: ResidentEngine,
        choices: Callable[[], tuple[Launch, Policy]],
        may: Callable[[], Awaitable[bool]],
        shows: Callable[[bool], None],
    ) -> None:
        self._engine = engine
        self._choices = choices
        self._may = may
        self._shows = shows

    async def after_turn(self) -> None:
        """Shorten a long conversation, renew a process that grew."""
        await self._upkeep(self._engine.upkeep.is_due, self._engine.upkeep.after)
        with _told("the engine could not be renewed"):
            await self._engine.renew(self._choices()[0])

    async def at_rest(self) -> None:
        """Take notes of a conversation that may grow cold."""
        await self._upkeep(self._engine.upkeep.lacks_notes, self._engine.upkeep.note)

    async def _upkeep(
        self,
        is_due: Callable[[Launch, Policy], bool],
        work: Callable[[Launch, Policy], Awaitable[None]],
    ) -> None:
        with _told("the upkeep of the conversation failed"):
            choices = self._choices()
            if not is_due(*choices):
                return
            if not await self._may():
                log.info("the upkeep of the conversation waits: no turn may begin now either")
                return
            self._shows(True)
            try:
                await work(*choices)
            finally:
                self._shows(False)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """What goes wrong inside is only logged: the next turn tries its own luck."""
    try:
        yield
    except (BadAgentFile, EngineGone, SessionLost) as error:
        log.warning("%s: %s", what, error)
