"""What all services share: the agents in memory, the store, the clocks, fresh ids."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hive_wire.names import SYSTEM, is_uid
from hive_wire.rpc_errors import NOT_FOUND, RpcError

from ..core.addressing import unknown
from ..core.clock import Clock
from ..core.questions import Question
from ..core.reminders import Reminder
from ..store import load
from ..store.opening import Opened, open_store
from ..store.reader import Reader
from ..store.rows import NewEvent, NewMessage, StoredEvent, Unit
from ..store.shares import ROW
from ..store.writer import Writer
from .agent import Agent
from .alarms import Alarms
from .history import History

log = logging.getLogger(__name__)

T = TypeVar("T")
RETRY_SECONDS = 5
CLOSING_SECONDS = 3
EVERYWHERE = "*"  # the scope of a pause of all


class Ids:
    """Message and row ids, ascending, given before anything is written."""

    def __init__(self, snapshot: load.Snapshot) -> None:
        self.message: Iterator[int] = itertools.count(snapshot.last_message + 1)
        self.call: Iterator[int] = itertools.count(snapshot.last_call + 1)
        self.question: Iterator[int] = itertools.count(snapshot.last_question + 1)
        self.reminder: Iterator[int] = itertools.count(snapshot.last_reminder + 1)


class Broker:
    """Made by `open`; `close` commits what is queued."""

    def __init__(self, store: Opened, reader: Reader, clock: Clock) -> None:
        snapshot = store.snapshot
        self.clock = clock
        self.path = store.path
        self.lost = store.lost
        self.last_message = snapshot.last_message  # when it started
        self.on_health: Callable[[], None] = lambda: None  # the writer's state changed
        # A message on disk is wrong, and was to be handed to this uid.
        self.on_damaged: Callable[[str, int], None] = lambda *_: None
        self.epoch = snapshot.epoch
        self.ids = Ids(snapshot)
        self.reader = reader
        self.alarms = Alarms(clock)
        self.agents: dict[str, Agent] = {}  # live ones, by uid
        self.names: dict[str, str] = {}  # live ones, name to uid
        self.name_of: dict[str, str] = {s.record.uid: s.record.name for s in snapshot.agents}
        self.fenced: set[str] = {s.record.uid for s in snapshot.agents if s.fenced}
        self.pauses = dict(snapshot.pauses)
        self.questions: dict[int, Question] = {q.id: q for q in snapshot.questions}
        self.reminders: dict[int, Reminder] = {r.id: r for r in snapshot.reminders}
        self.history = History(reader, snapshot.last_event, self._event_name)
        self.writer = Writer(
            store.db,
            last=store.high.marks,
            sequences=dict(snapshot.sequences),
            high=store.high,
            ballast=store.ballast,
            on_events=self._committed,
            on_health=self._health_changed,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        for stored in snapshot.agents:
            if not stored.retired:
                self.adopt(stored)

    @classmethod
    async def open(cls, path: Path, clock: Clock) -> Broker:
        """The broker of the database at `path`. Raises DatabaseRefused, OSError."""
        store = await asyncio.to_thread(open_store, path, clock.wall())
        return cls(store, await Reader.open(path), clock)

    async def close(self) -> None:
        self.alarms.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSING_SECONDS)
            for task in self._tasks:
                task.cancel()
        await self.writer.close()
        await self.history.close()
        await self.reader.close()

    # -- agents ----------------------------------------------------------------

    def adopt(self, stored: load.AgentState) -> Agent:
        """The agent is live from now on."""
        agent = Agent(stored, self.clock)
        self.agents[agent.uid] = agent
        self.names[agent.name] = agent.uid
        self.name_of[agent.uid] = agent.name
        return agent

    def agent(self, name_or_uid: str) -> Agent:
        """A live agent; a uid never looks like a name. Raises RpcError(NOT_FOUND)."""
        uid = name_or_uid if is_uid(name_or_uid) else self.names.get(name_or_uid, "")
        if uid not in self.agents:
            raise RpcError(NOT_FOUND, unknown(name_or_uid, self.names))
        return self.agents[uid]

    def paused(self, uid: str) -> tuple[str, str] | None:
        """(by, reason) of the pause that stops this agent."""
        return self.pauses.get(EVERYWHERE) or self.pauses.get(uid)

    # -- writing ---------------------------------------------------------------

    def event(
        self, agent: str | None, kind: str, data: dict[str, Any], turn: str | None = None
    ) -> NewEvent:
        return NewEvent(agent, kind, data, self.clock.wall(), turn)

    def record(self, *events: NewEvent) -> asyncio.Future[Any] | None:
        """Put events into the history; nobody need wait for it. None when too much waits."""
        return self.writer.post(Unit(events=events))

    def system_message(
        self,
        uid: str,
        kind: str,
        body: str,
        data: dict[str, Any] | None = None,
        key: str | None = None,
    ) -> NewMessage:
        """A message from the system to the agent `uid`, live or not."""
        ident = next(self.ids.message)
        return NewMessage(
            id=ident,
            sender=SYSTEM,
            sender_name=SYSTEM,
            to=self.name_of.get(uid, uid),
            kind=kind,
            body=body,
            thread=ident,
            at=self.clock.wall(),
            recipients=(uid,),
            data=data,
            key=key,
        )

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` to its end, whoever waits for it or stops to."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside; what goes wrong in it is logged."""
        self.start(work).add_done_callback(_log_failure)

    def spawn_until_stored(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` beside, and again every few seconds while the disk refuses it."""

        async def insist() -> None:
            while True:
                try:
                    await work()
                except RpcError as error:
                    log.warning("tried again in %d s: %s", RETRY_SECONDS, error)
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    return

        self.spawn(insist())

    async def whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` to its end even when whoever asked for it is gone."""
        return await self.finished(self.start(work))

    @staticmethod
    async def finished(task: asyncio.Task[T]) -> T:
        """The task's result; whoever waits may be cancelled without it."""
        return await asyncio.shield(task)

    # -- inside ----------------------------------------------------------------

    def _event_name(self, uid: str | None) -> str:
        return "" if uid is None else self.name_of.get(uid, uid)

    def _health_changed(self) -> None:
        self.on_health()

    def _committed(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            if event.agent is not None and (agent := self.agents.get(event.agent)):
                agent.last_event = event.id
                agent.written += event.size + ROW
        self.history.committed(events)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("work beside failed", exc_info=task.exception())
