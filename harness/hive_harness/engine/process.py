"""One engine process and its pipes: lines in, events out, control requests both ways."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from ..processes import Children, dies_with_parent
from ..spool import Session
from .launch import Launch
from .pipes import Lines, Pipes

INITIALIZE_WITHIN = 300.0  # seconds; a cold disk, or a busy machine, makes a start slow
DRAIN = 1.0  # seconds in which a dead engine's last words are read
UNREADABLE = "this is no JSON that anybody reads; say it with less nesting and shorter numbers"
_REQUEST = re.compile(rb'\{\s*"type":\s*"control_request",\s*"request_id":\s*"([\w-]{1,100})"')

Event = dict[str, Any]


class EngineGone(Exception):
    """The process ended, or could not be started; the message says what it last said."""


class EngineMissing(EngineGone):
    """There is no executable to start."""


class Refused(Exception):
    """The engine asked for something that it does not get; the message says why."""


@dataclass(frozen=True)
class Hooks:
    """Who hears of what the process says. `serve` answers its control requests."""

    event: Callable[[Event], None]
    stderr: Callable[[str], None]
    serve: Callable[[Event], Awaitable[Event]]


class EngineProcess:
    """A process that speaks stream-json. `ended` is set once it is gone and read out."""

    def __init__(self, children: Children, hooks: Hooks) -> None:
        self._children = children
        self._hooks = hooks
        self._waiting: dict[str, asyncio.Future[Event]] = {}
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: dict[str, asyncio.Task[None]] = {}  # its control requests, by their id
        self._tail: deque[str] = deque(maxlen=20)
        self._fault = ""
        self._pipes: Pipes | None = None
        self._put_down = False
        self.ended = asyncio.Event()
        self.turns = 0  # that it played
        self.cost = 0.0  # USD that it reported last

    @property
    def pid(self) -> int | None:
        """The pid while it lives."""
        return self._pipes.pid if self._pipes is not None and not self.ended.is_set() else None

    def epitaph(self) -> str:
        """Why it ended, for a person."""
        if self._fault:
            return self._fault
        code = self._pipes.returncode if self._pipes is not None else None
        said = "; ".join(self._tail)
        return f"the engine ended with code {code}" + (f": {said}" if said else "")

    async def start(
        self, launch: Launch, session: Session, *, resume: bool, resume_turn: bool
    ) -> None:
        """Start and initialize. Raises EngineMissing or EngineGone."""
        argv = launch.command(session, resume=resume)
        stdout, stderr = Lines(self._take), Lines(self._said)
        try:
            with self._children.forking() as own:
                _, self._pipes = await asyncio.get_running_loop().subprocess_exec(
                    lambda: Pipes(stdout, stderr, self._broken),
                    *argv,
                    cwd=launch.cwd,
                    env=launch.environment(resume_turn=resume_turn),
                    start_new_session=True,
                    preexec_fn=dies_with_parent(),
                )
                own(self._pipes.pid)
        except OSError as error:
            self.ended.set()
            raise EngineMissing(
                f"{argv[0]}: {error.strerror}; is the engine installed in the container?"
            ) from None
        watch = asyncio.create_task(self._watch(self._pipes))
        self._tasks.add(watch)
        await self._initialize()

    async def control(self, subtype: str, *, within: float, **fields: Any) -> Event:
        """A control request's answer. Raises EngineGone, TimeoutError after `within` seconds."""
        ident = f"hive-{next(self._ids)}"
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting[ident] = answer
        try:
            request = {"subtype": subtype, **fields}
            self.write({"type": "control_request", "request_id": ident, "request": request})
            async with asyncio.timeout(within):
                return await answer
        finally:
            self._waiting.pop(ident, None)

    def write(self, line: Event) -> None:
        """Queue one line. Raises EngineGone."""
        if self._pipes is None or self._pipes.exited.is_set():
            raise EngineGone(self.epitaph())
        self._pipes.write(json.dumps(line).encode() + b"\n")

    @property
    def gave_up(self) -> bool:
        """It ended by itself, with an error: nobody and no signal ended it."""
        code = self._pipes.returncode if self._pipes is not None else None
        return not self._put_down and code is not None and code > 0

    def terminate(self) -> None:
        self._put_down = True
        if self._pipes is not None:
            self._pipes.terminate()

    def kill(self) -> None:
        self._put_down = True
        if self._pipes is not None:
            self._pipes.kill()

    async def stop(self, grace: float, *, end_of_input: bool) -> None:
        """End of input, if so wished, then SIGTERM, then SIGKILL, `grace` seconds apart."""
        self._put_down = True
        if self._pipes is None:
            return
        steps = (self._pipes.close_stdin, self._pipes.terminate, self._pipes.kill)
        for step in steps if end_of_input else steps[1:]:
            step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self.ended.wait()
                return
        await self.ended.wait()

    # -- inside ----------------------------------------------------------------

    async def _initialize(self) -> None:
        try:
            # Without a snapshot, a changed prompt counts in a resumed session as well.
            await self.control(
                "initialize", within=INITIALIZE_WITHIN, hooks=None, systemPromptSnapshot=False
            )
        except TimeoutError:
            self._broken(f"the engine did not initialize within {INITIALIZE_WITHIN:.0f} s")
            await self.ended.wait()
            raise EngineGone(self._fault) from None
        except asyncio.CancelledError:
            self.kill()
            raise

    async def _watch(self, pipes: Pipes) -> None:
        await pipes.exited.wait()
        # Its tools may live on and hold the pipes: then the end of the stream never comes.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                await pipes.read_out.wait()
        pipes.close()
        self.ended.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(EngineGone(self.epitaph()))
        for task in self._tasks - {cast("asyncio.Task[None]", asyncio.current_task())}:
            task.cancel()
        await self._children.disown(pipes.pid)

    def _broken(self, fault: str) -> None:
        self._fault = fault
        self.kill()

    def _said(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        self._tail.append(text[:500])
        self._hooks.stderr(text)

    def _take(self, line: bytes) -> None:
        try:
            # NaN is no JSON elsewhere: it must not travel on.
            event = json.loads(line, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            self._said(line)
            self._refuse(line)
            return
        if not isinstance(event, dict):
            return
        if event.get("type") == "control_response":
            self._answered(event)
        elif event.get("type") == "control_request":
            self._start_serving(event)
        elif event.get("type") == "control_cancel_request":
            serving = self._serving.get(str(event.get("request_id")))
            if serving is not None:
                serving.cancel()
        else:
            with contextlib.suppress(RecursionError):  # nested beyond all use
                self._hooks.event(event)

    def _refuse(self, line: bytes) -> None:
        """Answer a request that cannot be read: the engine would wait for it for ever."""
        asked = _REQUEST.match(line)
        if asked is not None:
            response = {"subtype": "error", "request_id": asked[1].decode(), "error": UNREADABLE}
            with contextlib.suppress(EngineGone):
                self.write({"type": "control_response", "response": response})

    def _answered(self, event: Event) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            return
        answer = self._waiting.get(str(response.get("request_id")))
        if answer is not None and not answer.done():
            answer.set_result(response)

    def _start_serving(self, event: Event) -> None:
        ident, task = str(event.get("request_id")), asyncio.create_task(self._serve(event))
        self._tasks.add(task)
        self._serving[ident] = task

        def served(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            self._serving.pop(ident, None)

        task.add_done_callback(served)

    async def _serve(self, event: Event) -> None:
        request = event.get("request")
        response: Event = {"request_id": event.get("request_id")}
        try:
            answer = await self._hooks.serve(request if isinstance(request, dict) else {})
            response |= {"subtype": "success", "response": answer}
        except RecursionError:
            response |= {"subtype": "error", "error": UNREADABLE}
        except (Refused, OSError) as error:
            response |= {"subtype": "error", "error": str(error)}
        with contextlib.suppress(EngineGone):
            self.write({"type": "control_response", "response": response})
