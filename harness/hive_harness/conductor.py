"""From grants to ended turns, one after the other, and the page's commands between them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from hive_wire.rpc_errors import BUSY, REFUSED, UNAVAILABLE, RpcError

from . import wake
from .agentfile import AgentFile, BadAgentFile
from .calls import CallBook
from .engine.keeper import SessionLost, ShuttingDown
from .engine.launch import Launch, launch
from .engine.policy import Policy
from .engine.process import EngineGone
from .engine.resident import ResidentEngine
from .engine.turn import Ending, Turn
from .settings import Settings
from .shapes import MAX_CALLS
from .spool import Spool, insist
from .states import UNKILLABLE, Doing
from .upkeep_times import UpkeepTimes
from .uplink import Uplink, Welcome
from .verdict import Verdict, failed

log = logging.getLogger(__name__)

ABANDONED_AFTER = 10.0  # seconds that the end of a turn gets when something cannot be killed
NOT_WHILE_RUNNING = "a turn runs; wait for its end, or cancel it"

HELP = """\
/cancel ends the running turn, whose message counts as done, or a compaction.
/compact [hint] shortens the conversation; the hint says what to keep.
/clear begins a new session with nothing; /state stays.
/new-session begins a new session with the notes in /state/notes.md.
/model [name] takes another model until the next restart; without a name, that of agent.toml.
/help says this. Anything else is a message to the agent."""

Grant = dict[str, Any]


class Conductor:
    """`turn` is the id of the turn that runs. Grants are played in the order they came."""

    def __init__(
        self,
        settings: Settings,
        spool: Spool,
        engine: Callable[[Conductor], ResidentEngine],
        uplink: Callable[[Conductor], Uplink],
        prepare: Callable[[], Awaitable[object]],
    ) -> None:
        self._settings = settings
        self._prepare = prepare  # what a turn must find: the manager's clone
        self._spool = spool
        self._file = AgentFile(settings.agent_file)
        self._grants: asyncio.Queue[tuple[Grant, bool]] = asyncio.Queue()
        self._quiet = asyncio.Lock()  # held by a turn, and by a command that must not meet one
        self._book: CallBook | None = None
        self._model = ""  # asked for on the page, until the next boot
        self.turn: str | None = None
        self._ended = ""  # the turn that ended last; the broker may not know it yet
        self._queued: set[str] = set()
        self._dropped: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._warm = False
        self._rested: asyncio.TimerHandle | None = None  # rings when no turn followed for a while
        self.doing = Doing()
        self.unkillable = asyncio.Event()  # only a new container gets rid of what runs in it
        self._welcome = asyncio.Event()  # the broker has said which turns stand
        self._engine = engine(self)
        self._uplink = uplink(self)
        self._upkeep = UpkeepTimes(
            self._engine,
            lambda: (self._launch(), self._policy()),
            self._uplink.may_do_upkeep,
            lambda does: self.show(self.doing.upkeep(does)),
        )

    async def run(self) -> None:
        """Play what is granted, until the harness stops."""
        while True:
            grant, resumed = await self._grants.get()
            await self._welcome.wait()
            try:
                await self._play(grant, resumed=resumed)
            except ShuttingDown:
                return

    def show(self, doing: Doing) -> None:
        """This is what is known now."""
        self.doing = doing
        self._uplink.badge(doing.badge)

    # -- what the broker says --------------------------------------------------

    async def greeting(self) -> dict[str, Any]:
        """What a hello says of the session and of turns."""
        self._welcome.clear()
        ended = await asyncio.to_thread(self._spool.ended)
        running = self.turn or await asyncio.to_thread(self._spool.running)
        told: dict[str, Any] = {"session": self._engine.session, "ended": ended}
        if running is not None and all(event["turn"] != running for event in ended):
            book = self._book if self.turn == running else None
            book = book or await self._resumed(running)
            told["running"] = {"turn": running, "handed": list(book.handed[-MAX_CALLS:])}
        return told

    async def welcomed(self, welcome: Welcome) -> None:
        if welcome.resume is not None:
            self.granted(welcome.resume, resumed=True)
        elif welcome.drop and self.turn is not None:
            self._dropped.add(self.turn)
            self._beside(self._engine.end_turn(self.turn, "dropped"))
        elif self.turn is None:
            await asyncio.to_thread(self._spool.drop_running)
        self._welcome.set()
        if not self._warm:
            self._warm = True
            self._beside(self._warm_up())

    def granted(self, grant: Grant, *, resumed: bool = False) -> None:
        """A turn to play. One that runs, waits or has ended already is not played again."""
        turn = grant.get("turn")
        if not isinstance(turn, str) or turn in {self.turn, self._ended, *self._queued}:
            return
        self._queued.add(turn)
        self._grants.put_nowait((grant, resumed))

    async def interrupt(self, turn: str) -> None:
        """End the running turn; its message goes back, uncounted."""
        if turn == self.turn:
            await self._end_turn(turn, "stopped")

    async def command(self, command: str, argument: str) -> str:
        """A command of the page; what to tell the person. Raises RpcError."""
        if command == "cancel":
            return await self._cancel()
        if command == "model":
            return self._ask_for_model(argument)
        if command == "help":
            return HELP
        if command not in ("clear", "new-session", "compact"):
            raise RpcError(REFUSED, f"there is no command {command[:40]!r}")
        if self.turn is not None:
            raise RpcError(BUSY, NOT_WHILE_RUNNING)
        async with self._quiet:  # waits until the last turn's end is confirmed
            try:
                if command == "compact":
                    return await self._engine.compact(self._launch(), argument)
                anew = command == "new-session"
                await self._engine.new_session(self._file.current().engine, with_notes=anew)
            except (EngineGone, SessionLost, ShuttingDown, BadAgentFile) as error:
                raise RpcError(UNAVAILABLE, f"{command}: {error}") from None
        begins = "a new session begins with the next turn"
        if command == "new-session":
            return f"{begins} and the notes in /state/notes.md"
        return f"{begins}; /state is as it was"

    # -- inside ----------------------------------------------------------------

    async def _warm_up(self) -> None:
        """Start the engine ahead of the first turn; what goes wrong is shown."""
        async with self._quiet:
            if self._queued or self._engine.is_up:  # a turn was quicker, and said how it went
                return
            try:
                await self._engine.warm_up(self._launch())
            except (BadAgentFile, EngineGone) as error:
                self.show(self.doing.engine_failed(str(error)))
                return
            except ShuttingDown:
                return
            except SessionLost:
                pass  # the first turn begins a new one
            self.show(self.doing.engine_up(self._file.problem))

    def _beside(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, grant: Grant, *, resumed: bool) -> None:
        if self._rested is not None:
            self._rested.cancel()
        async with self._quiet:
            self.turn = turn = grant["turn"]
            try:
                verdict = await self._verdict(turn, grant, resumed=resumed)
                verdict = verdict.with_owed(*await asyncio.to_thread(self._spool.owed))
                event = self._event(turn, verdict)
                if turn in self._dropped:
                    await asyncio.to_thread(self._spool.drop_running)
                else:
                    await insist(lambda: self._spool.end(event), self._troubled)
                    self._ended = turn
            finally:
                self.turn = self._book = None
                self._queued.discard(turn)
                dropped = turn in self._dropped
                self._dropped.discard(turn)
            self.show(self.doing.turn_ended(verdict, self._file.problem))
            if not dropped:
                await self._uplink.end(event)
            if verdict.outcome == "ok":
                await self._keep_fit()

    async def _keep_fit(self) -> None:
        await self._upkeep.after_turn()
        loop = asyncio.get_running_loop()
        after = self._settings.notes_after
        self._rested = loop.call_later(after, lambda: self._beside(self._note()))

    async def _note(self) -> None:
        async with self._quiet:
            if not self._queued:
                with contextlib.suppress(ShuttingDown):
                    await self._upkeep.at_rest()

    async def _verdict(self, turn: str, grant: Grant, *, resumed: bool) -> Verdict:
        resumed = resumed and await asyncio.to_thread(self._spool.running) == turn
        book = await self._resumed(turn) if resumed else CallBook(turn, self._spool)
        await insist(lambda: self._spool.begin(turn), self._troubled)
        try:
            start = self._launch()
            prompt = wake.write(wake.from_grant(grant))
        except BadAgentFile as error:
            return failed("engine_missing", f"the agent's file cannot be used: {error}")
        except (KeyError, TypeError, ValueError) as error:
            return failed("invalid_request", f"the grant cannot be read: {error!r}")
        self.show(self.doing.turn_began(self._file.problem))
        await self._prepare()
        self._book = book
        ident = str(uuid.uuid5(uuid.NAMESPACE_OID, f"hive:{start.uid}:{turn}"))
        return await self._engine.play(
            start, Turn(turn, prompt, ident), book, self._policy(), resumed=resumed
        )

    async def _resumed(self, turn: str) -> CallBook:
        """The calls of a turn that an earlier process began."""
        calls = await asyncio.to_thread(self._spool.calls)
        uses = frozenset(call.use for call in calls.made)
        return CallBook(turn, self._spool, calls, await self._engine.kept(uses))

    def _event(self, turn: str, verdict: Verdict) -> dict[str, Any]:
        """The turn's `TurnEnd`."""
        unseen = self._book.unseen if self._book is not None else ()
        return verdict.as_turn_end(turn, self._engine.session, unseen)

    def _troubled(self, words: str) -> None:
        self.show(self.doing.troubled(words))

    def _launch(self) -> Launch:
        return launch(self._file.current(), self._settings, self._model)

    def _policy(self) -> Policy:
        agent = self._file.current()
        return Policy(agent.compact_at, agent.when_cold)

    async def _cancel(self) -> str:
        turn = self.turn
        if turn is not None:
            await self._end_turn(turn, "cancelled")
            return f"turn {turn} is cancelled"
        cut = await self._engine.cancel_upkeep()
        if cut is None:
            return "nothing runs"
        if not cut:
            raise self._unkillable("", "cancelled")
        return "the conversation is not shortened now"

    async def _end_turn(self, turn: str, why: Ending) -> None:
        if not await self._engine.end_turn(turn, why):
            raise self._unkillable(turn, why)

    def _unkillable(self, turn: str, why: Ending) -> RpcError:
        self.show(self.doing.stuck())
        self._beside(self._abandon(turn, why))
        return RpcError(UNAVAILABLE, UNKILLABLE)

    async def _abandon(self, turn: str, why: Ending) -> None:
        """End the harness, and the container with it, once the turn has its end on disk."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ABANDONED_AFTER), self._quiet:
                pass
        if self.turn == turn and why != "dropped":
            outcome = "cancelled" if why == "cancelled" else "failed"
            verdict = Verdict(outcome, "" if why == "cancelled" else "stopped")
            event = self._event(turn, verdict)
            await asyncio.to_thread(self._spool.end, event)
        self.unkillable.set()

    def _ask_for_model(self, model: str) -> str:
        own = self._file.current().model
        self._model = model
        if not model:
            return f"the model is {own}, as agent.toml says"
        return f"the model is {model} from the next turn to the next restart; agent.toml says {own}"
