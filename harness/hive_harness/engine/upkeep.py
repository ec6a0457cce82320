"""Between turns: notes are taken, the conversation is shortened or begun anew."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator

from ..spool import Session
from .keeper import EngineKeeper
from .launch import Launch
from .notes import ASK, Notes, with_notes
from .policy import Policy, is_better_begun_anew, is_long, needs_notes
from .process import EngineGone
from .watch import TurnWatch

log = logging.getLogger(__name__)

Say = Callable[[Launch, str], Awaitable[TurnWatch]]


class _Cut(Exception):
    """Somebody cancelled it; the conversation is as it was."""


class Upkeep:
    """`say` puts a line to the engine outside of any turn. What that costs is added to the
    next turn's end."""

    def __init__(self, keeper: EngineKeeper, say: Say, notes: Notes) -> None:
        self._keeper = keeper
        self._say = say
        self._notes = notes
        self.runs = False  # notes or a compaction are under way
        self._cut = False

    def cut(self) -> None:
        """What runs is to end, and nothing is to follow it."""
        self._cut = True

    async def before(self, launch: Launch, policy: Policy) -> None:
        """A turn is about to begin: leave a conversation that is too dear to be read again."""
        session = self._of(launch)
        if session is not None and is_better_begun_anew(session, policy, time.time()):
            await self.begin_anew(launch.engine, with_notes=True)

    async def first_prompt(self, prompt: str) -> str:
        """The prompt, with the notes in front where the session begins with them."""
        session = self._keeper.sessions.current
        if session is None or not session.notes or session.turns:
            return prompt
        return with_notes(prompt, await asyncio.to_thread(self._notes.read))

    def is_due(self, launch: Launch, policy: Policy) -> bool:
        """Whether the conversation is to be shortened now."""
        session = self._of(launch)
        return session is not None and is_long(session, policy)

    def lacks_notes(self, launch: Launch, policy: Policy) -> bool:
        """Whether notes are to be taken before the conversation grows cold."""
        session = self._of(launch)
        return session is not None and needs_notes(session, policy)

    async def after(self, launch: Launch, policy: Policy) -> None:
        """A turn ended: shorten the conversation if it became long.

        Raises EngineGone, SessionLost, ShuttingDown.
        """
        if not self.is_due(launch, policy):
            return
        with self._running():
            taken = await self._take_notes(launch)
            if not await self._compacted(launch, "") and taken:
                await self.begin_anew(launch.engine, with_notes=True)

    async def note(self, launch: Launch, policy: Policy) -> None:
        """The conversation rests: take notes while the model's cache still has it.

        Raises as `after`.
        """
        if self.lacks_notes(launch, policy):
            with self._running():
                await self._take_notes(launch)

    async def compact(self, launch: Launch, hint: str) -> str:
        """As a person asked for; what to tell them. Raises as `after`."""
        with self._running():
            if await self._compacted(launch, hint):
                return "the conversation was shortened"
        if self._cut:
            return "cancelled; the conversation is as it was"
        return "the engine did not shorten the conversation; nothing was lost"

    async def begin_anew(self, engine: str, *, with_notes: bool) -> None:
        """Leave the conversation behind."""
        await self._keeper.down()
        await asyncio.to_thread(self._keeper.sessions.renew, engine, notes=with_notes)

    async def noted(self, watch: TurnWatch) -> None:
        """A turn printed its result."""
        await asyncio.to_thread(
            self._keeper.sessions.turn_ended,
            ok=watch.verdict is not None and watch.verdict.outcome == "ok",
            context=watch.context,
            window=watch.window,
            at=time.time(),
        )

    # -- inside ----------------------------------------------------------------

    def _of(self, launch: Launch) -> Session | None:
        """The conversation, if it is this engine's and costs anything."""
        session = self._keeper.sessions.current
        mine = session is not None and session.engine == launch.engine
        return session if mine and launch.has_model else None

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        self.runs, self._cut = True, False
        try:
            yield
        except _Cut:
            log.info("it was cancelled: the conversation stays as long as it is")
        finally:
            self.runs = False

    async def _take_notes(self, launch: Launch) -> bool:
        watch = await self._heard(launch, ASK)
        text = watch.result.get("result") if watch.result is not None else None
        if watch.verdict is None or watch.verdict.outcome != "ok" or not isinstance(text, str):
            return False
        try:
            await asyncio.to_thread(self._notes.write, text)
        except OSError as error:
            log.warning("the notes could not be written: %s", error)
            return False
        await asyncio.to_thread(self._keeper.sessions.noted)
        return True

    async def _compacted(self, launch: Launch, hint: str) -> bool:
        watch = await self._heard(launch, f"/compact {hint}".strip())
        if watch.result is None:
            raise EngineGone("the engine ended before it answered")
        if watch.compacted is None:
            return False
        await asyncio.to_thread(self._keeper.sessions.shortened, watch.compacted)
        return True

    async def _heard(self, launch: Launch, text: str) -> TurnWatch:
        watch = await self._say(launch, text)
        if watch.verdict is not None:
            await asyncio.to_thread(
                self._keeper.sessions.spool.owe, watch.verdict.cost_usd, watch.verdict.usage
            )
        if self._cut and watch.compacted is None:
            raise _Cut
        return watch
