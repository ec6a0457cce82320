"""The engine's process over time: started for a launch, kept, stopped when idle, resumed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from ..calls import CallBook
from ..processes import Children, resident_mib
from ..relay import McpRelay
from ..settings import Settings
from .launch import Launch
from .process import EngineGone, EngineProcess, Event, Hooks, Refused
from .sessions import Sessions
from .version import TESTED, Versions, text

log = logging.getLogger(__name__)

RESUMES = 2  # failures in a row after which a session is given up
GRACE = 5.0  # seconds that a process gets to end by itself, and again after SIGTERM


class ShuttingDown(Exception):
    """The harness stops: the turn has no end and goes on in the next boot."""


class SessionLost(Exception):
    """The session cannot be resumed; a new one took its place."""


@dataclass(frozen=True)
class Ears:
    """Who hears the engine. `book` names the hive tool calls of the turn that runs now."""

    event: Callable[[Event], None]
    stderr: Callable[[str], None]
    book: Callable[[], CallBook | None]
    permit: Callable[[Event], Awaitable[Event]]


class EngineKeeper:
    """At most one process. While `busy` it is not stopped for idleness."""

    def __init__(
        self, settings: Settings, sessions: Sessions, children: Children, ears: Ears
    ) -> None:
        self._settings = settings
        self._children = children
        self._ears = ears
        self._launch: Launch | None = None
        self._relay: McpRelay | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.sessions = sessions
        self.process: EngineProcess | None = None
        self._failed_resumes = 0
        self._versions = Versions(children)
        self.version = TESTED[-1]  # of the CLI, once one was started
        self.continues = False  # the process was told to go on with the turn that was cut
        self.busy = False
        self.closing = False

    async def up(self, launch: Launch, continued: str = "") -> tuple[EngineProcess, bool]:
        """The initialized process for `launch`, and whether it was started for this.

        `continued` is the uuid of a user line that was cut: when the session has it, the
        engine goes on with it by itself.
        Raises EngineMissing, EngineGone, SessionLost, ShuttingDown.
        """
        async with self._lock:
            if self.closing:
                raise ShuttingDown
            self._stay_awake()
            process, new = self.process, False
            if process is None or process.pid is None or self._launch != launch:
                await self._stop(GRACE)
                process, new = await self._start(launch, continued), True
        if not self.busy:
            self.rest()
        return process, new

    async def trim(self) -> bool:
        """Between turns: stop a process that grew, or that played many turns. True if so."""
        async with self._lock:
            if self.process is None or self.process.pid is None or self.busy:
                return False
            mib = await asyncio.to_thread(resident_mib, self.process.pid)
            limits = self._settings
            if mib <= limits.engine_mib and self.process.turns < limits.engine_turns:
                return False
            log.info("the engine is renewed: %d MiB, %d turns", mib, self.process.turns)
            await self._stop(GRACE)
            return True

    async def down(self) -> None:
        """Stop the process, if there is one."""
        async with self._lock:
            await self._stop(GRACE)

    async def close(self) -> None:
        """Stop for good, without waiting for a start that is under way."""
        self.closing = True
        await self._stop(GRACE / 2)
        await self._children.kill_strays(None)

    def rest(self) -> None:
        """Nothing is to be done: the process is stopped after a while."""
        self._stay_awake()
        if not self.closing:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(
                self._settings.idle_stop, lambda: self.spawn(self._fall_asleep())
            )

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run beside everything else."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- inside ----------------------------------------------------------------

    async def _start(self, launch: Launch, continued: str) -> EngineProcess:
        if launch.has_model:
            self.version = await self._versions.of(launch.argv[0], dict(launch.env))
            if self.version not in TESTED:
                self._ears.stderr(f"Claude Code {text(self.version)} is not a tested version")
        before = self.sessions.current
        session = await asyncio.to_thread(self.sessions.of, launch.engine)
        if continued and before is not None and session.id != before.id:
            raise SessionLost(f"the turn was cut, and its agent has the engine {launch.engine} now")
        resume = await asyncio.to_thread(self.sessions.exists, session)
        self.continues = bool(continued) and await asyncio.to_thread(
            self.sessions.holds, session, continued
        )
        self._relay = McpRelay(self._settings.mcp_sock, self._server_said, self._ears.book)
        self._relay.start()
        hooks = Hooks(self._ears.event, self._ears.stderr, self._serve)
        process = EngineProcess(self._children, hooks)
        self.process, self._launch = process, launch
        try:
            await process.start(launch, session, resume=resume, resume_turn=self.continues)
        except EngineGone as error:
            if not (resume and process.gave_up):
                raise
            self._failed_resumes += 1
            if self._failed_resumes < RESUMES:
                raise
            log.warning("the session cannot be resumed, a new one begins: %s", error)
            await asyncio.to_thread(self.sessions.renew, launch.engine, notes=True)
            raise SessionLost(str(error)) from None
        finally:
            if not process.gave_up:
                self._failed_resumes = 0
        how = "goes on with a turn that was cut" if self.continues else "is ready"
        log.info("the engine %s: pid %s, session %s", how, process.pid, session.id)
        return process

    async def _stop(self, grace: float) -> None:
        self._stay_awake()
        if self.process is not None:
            # In mid-turn an end of input would fail the tool calls that the turn waits for.
            await self.process.stop(grace, end_of_input=not self.busy)
            self.process = None
        if self._relay is not None:
            self._relay.stop()
            self._relay = None

    def _stay_awake(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    async def _fall_asleep(self) -> None:
        async with self._lock:
            if not self.busy:
                await self._stop(GRACE)

    async def _serve(self, request: Event) -> Event:
        match request:
            case {"subtype": "mcp_message", "message": dict(message)} if self._relay is not None:
                return {"mcp_response": await self._relay.serve(message)}
            case {"subtype": "can_use_tool"}:
                return await self._ears.permit(request)
            case {"subtype": "elicitation"}:
                return {"action": "cancel"}
        raise Refused(f"the harness does not do {request.get('subtype')!r}")

    def _server_said(self, message: Event) -> None:
        if self.process is not None:
            request = {"subtype": "mcp_message", "server_name": "hive", "message": message}
            line = {"type": "control_request", "request_id": f"note-{uuid.uuid4()}"}
            with contextlib.suppress(EngineGone):
                self.process.write({**line, "request": request})
