"""Turns, played one by one on the resident engine, over crashes and hangs of its process."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Set
from dataclasses import replace
from functools import partial

from ..calls import CallBook
from ..processes import Children, now
from ..rows import Row, of_event, stderr
from ..settings import Settings
from ..shapes import is_session
from ..verdict import Verdict, failed
from .keeper import Ears, EngineKeeper, SessionLost, ShuttingDown
from .launch import Launch
from .notes import Notes
from .policy import Policy
from .process import EngineGone, EngineMissing, EngineProcess, Event
from .sessions import Sessions
from .turn import Ending, Turn
from .upkeep import Upkeep
from .userline import user_line
from .watch import TurnWatch

STEP = 5.0  # seconds that each step of ending a turn gets
MAX_RESTARTS = 2  # of the process within one turn
NEW_SESSION = "a new conversation begins, which lacks what was done about this message before"
LOST_RESULT = "the engine had finished this turn before a restart, but its result was not stored"


class ResidentEngine:
    """At most one turn at a time. `on_row` hears all that the engine prints, `troubled` what
    holds it up at the model's API, and "" when that is over."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        children: Children,
        *,
        on_row: Callable[[Row], None],
        permit: Callable[[Event], Awaitable[Event]],
        troubled: Callable[[str], None],
    ) -> None:
        self._stall_after = settings.stall_after
        self._children = children
        self._on_row = on_row
        self._troubled = troubled
        ears = Ears(self._heard, lambda line: on_row(stderr(line)), lambda: self._book, permit)
        self._keeper = EngineKeeper(settings, sessions, children, ears)
        self.upkeep = Upkeep(self._keeper, self._beside_turns, Notes(settings.state))
        self._watch: TurnWatch | None = None
        self._book: CallBook | None = None
        self._free = asyncio.Event()
        self._free.set()
        self._decided = asyncio.Event()  # there is a verdict, or something to do about the turn
        self._last_heard = 0.0
        self._wish: tuple[str, Ending] = ("", "stopped")  # a turn that is to end, and how
        self._playing = ""  # the turn's id
        self._began = 0.0

    @property
    def session(self) -> str | None:
        current = self._keeper.sessions.current
        return current.id if current is not None else None

    async def kept(self, uses: Set[str]) -> frozenset[str]:
        """Those of the uses of tools whose results an engine that resumes the session has."""
        return await asyncio.to_thread(self._keeper.sessions.results, uses)

    @property
    def is_up(self) -> bool:
        """Whether its process lives."""
        process = self._keeper.process
        return process is not None and process.pid is not None

    async def warm_up(self, launch: Launch) -> None:
        """Start ahead, so that the first turn finds the engine ready.

        Raises EngineMissing, EngineGone, SessionLost, ShuttingDown.
        """
        await self._keeper.up(launch)

    async def close(self) -> None:
        """Stop for good; a turn that runs is left without an end."""
        self._keeper.closing = True
        self._decided.set()
        await self._keeper.close()

    async def new_session(self, engine: str, *, with_notes: bool) -> None:
        """Forget the conversation. Only between turns."""
        await self.upkeep.begin_anew(engine, with_notes=with_notes)

    async def renew(self, launch: Launch) -> None:
        """Between turns: start a process anew that grew, or that played many. Raises as `warm_up`."""
        if await self._keeper.trim():
            await self._keeper.up(launch)

    async def compact(self, launch: Launch, hint: str) -> str:
        """Let the engine shorten its conversation; what to tell a person. Only between turns.

        Raises EngineGone, SessionLost, ShuttingDown.
        """
        return await self.upkeep.compact(launch, hint)

    async def play(
        self, launch: Launch, turn: Turn, book: CallBook, policy: Policy, *, resumed: bool
    ) -> Verdict:
        """Play a turn to its verdict. Raises ShuttingDown.

        `resumed`: the turn began in an earlier boot and goes on where it was cut.
        """
        begins = partial(self._keeper.sessions.begins, launch.engine, turn.message)
        if not resumed:
            await self.upkeep.before(launch, policy)
            if not await asyncio.to_thread(begins) and not turn.is_first:
                return replace(failed("restarted", NEW_SESSION), discarded=True)
        verdict = await self._play(launch, turn, book, resumed=resumed)
        session = self._keeper.sessions.current
        if verdict.cause == "prompt_too_long" and session is not None and session.turns:
            # The engine had tried to shorten it. The next attempt begins with the notes.
            await self.upkeep.begin_anew(launch.engine, with_notes=True)
            verdict = replace(verdict, discarded=True)
        await asyncio.to_thread(begins)  # it was resumed, or the session is another one now
        return verdict

    async def _play(self, launch: Launch, turn: Turn, book: CallBook, *, resumed: bool) -> Verdict:
        self._playing, self._began, self._book = turn.id, now(), book
        cause, why, begun = "", "", resumed
        try:
            for _ in range(MAX_RESTARTS + 1):
                if self._ending:
                    return self._judged(None)
                watch = None
                try:
                    prompt = await self.upkeep.first_prompt(turn.prompt)
                    watch = await self._say(launch, prompt, turn.user_uuid, begun)
                    verdict = watch.verdict
                except EngineMissing as error:
                    return failed("engine_missing", str(error))
                except SessionLost as error:
                    if begun or not turn.is_first:
                        return replace(failed("restarted", str(error)), discarded=True)
                    continue
                except EngineGone as error:
                    verdict, why = None, str(error)
                if watch is not None and watch.result is not None:
                    await self.upkeep.noted(watch)
                if verdict is not None:
                    return self._judged(verdict)
                if watch is not None and self._had_finished(watch):
                    # What cut it in this boot says more than that it was cut.
                    return self._judged(failed(cause or "restarted", why or LOST_RESULT))
                begun = True
                cause, why = await self._bury(why)
                book.engine_lost(await self.kept(book.uses))
            return self._judged(failed(cause, why))
        finally:
            self._playing, self._book = "", None

    async def end_turn(self, turn: str, why: Ending) -> bool:
        """End a turn: interrupt, SIGTERM, then SIGKILL of all that it started. A turn that is
        not played yet ends as soon as it is. False when something survived even that.
        """
        self._wish = turn, why
        return turn != self._playing or await self._cut()

    async def cancel_upkeep(self) -> bool | None:
        """Leave a conversation unshortened; None when none is. False as in `end_turn`."""
        if not self.upkeep.runs:
            return None
        self.upkeep.cut()
        return await self._cut()

    # -- inside ----------------------------------------------------------------

    async def _cut(self) -> bool:
        process = self._keeper.process
        if process is not None:
            await self._interrupt(process)
            for step in (None, process.terminate, process.kill):
                if step is not None and not self._free.is_set():
                    step()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STEP):
                        await self._free.wait()
                        break
        alive = self._keeper.process.pid if self._keeper.process is not None else None
        return await self._children.kill_strays(alive, self._began, STEP)

    async def _beside_turns(self, launch: Launch, text: str) -> TurnWatch:
        self._began = now()
        watch = await self._say(launch, text, str(uuid.uuid4()), begun=False)
        if watch.verdict is None:
            await self._bury("")
        return watch

    @property
    def _ending(self) -> Ending | None:
        """How the turn that is played is to end; None when nobody wishes that."""
        return self._wish[1] if self._wish[0] == self._playing else None

    async def _say(self, launch: Launch, text: str, ident: str, begun: bool) -> TurnWatch:
        """One user line, and what came of it; no verdict when the process ended or hangs."""
        # A resumed engine goes on before it is told anything: listen from the start.
        watch = self._watch = TurnWatch()
        self._keeper.busy = True
        self._free.clear()
        try:
            process, new = await self._keeper.up(launch, ident if begun else "")
            watch.cost_before = process.cost
            self._keeper.continues = self._keeper.continues and new
            process.turns += 1
            process.write(user_line(text, ident, self._keeper.version))
            await self._listen(process, watch)
        finally:
            self._watch = None
            self._keeper.busy = False
            self._free.set()
            self._keeper.rest()
        if self._keeper.closing:
            raise ShuttingDown
        return watch

    async def _listen(self, process: EngineProcess, watch: TurnWatch) -> None:
        """Returns with a verdict, or without one when the process ended or hangs."""
        loop = asyncio.get_running_loop()
        self._last_heard = loop.time()
        gone = asyncio.create_task(process.ended.wait())
        try:
            while watch.verdict is None and not self._keeper.closing:
                self._decided.clear()
                rest = self._last_heard + self._stall_after - loop.time()
                if self._had_finished(watch) or (rest <= 0 and not watch.tool_runs):
                    return
                decided = asyncio.create_task(self._decided.wait())
                done, _ = await asyncio.wait(
                    (gone, decided),
                    timeout=rest if rest > 0 else self._stall_after,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                decided.cancel()
                if gone in done:
                    return
        finally:
            gone.cancel()

    def _heard(self, event: Event) -> None:
        for row in of_event(event):
            self._on_row(row)
        watch = self._watch
        if watch is None:
            return
        self._last_heard = asyncio.get_running_loop().time()
        gave_up, trouble = watch.give_up, watch.trouble
        watch.feed(event)
        if watch.trouble != trouble:
            self._troubled(watch.trouble)
        if watch.progressed and self._book is not None:
            self._book.progressed()
        if watch.give_up is not gave_up and self._keeper.process is not None:
            self._keeper.spawn(self._interrupt(self._keeper.process))  # more tries are in vain
        if watch.result is event:
            self._note_result(event)
        if watch.verdict is not None or self._had_finished(watch):
            self._decided.set()

    def _had_finished(self, watch: TurnWatch) -> bool:
        """The turn was over before it was given again, and its result is nowhere."""
        return self._keeper.continues and watch.passed_over

    def _note_result(self, result: Event) -> None:
        total, session = result.get("total_cost_usd"), result.get("session_id")
        if isinstance(total, int | float) and self._keeper.process is not None:
            self._keeper.process.cost = float(total)
        if is_session(session) and session != self.session:
            self._keeper.spawn(asyncio.to_thread(self._keeper.sessions.moved, session))

    async def _interrupt(self, process: EngineProcess) -> None:
        with contextlib.suppress(EngineGone, TimeoutError):
            await process.control("interrupt", within=STEP)

    async def _bury(self, why: str) -> tuple[str, str]:
        """Clear away a process that died or hangs, with what the cut turn left running."""
        process = self._keeper.process
        if process is None:
            return "engine_crash", why
        hangs = process.pid is not None
        if hangs:
            process.kill()
        await process.ended.wait()
        await self._children.kill_strays(None, self._began)
        if hangs:
            return "stalled", f"the engine said nothing for {self._stall_after:.0f} s"
        return "engine_crash", process.epitaph()

    def _judged(self, verdict: Verdict | None) -> Verdict:
        """The verdict, unless somebody ended the turn."""
        verdict = verdict or failed("stopped", "")
        if self._ending == "cancelled" and verdict.outcome != "ok":
            return replace(verdict, outcome="cancelled", cause="", detail="")
        if self._ending == "stopped" and verdict.outcome != "ok":
            return replace(verdict, cause="stopped", retry_at=None)
        return verdict
