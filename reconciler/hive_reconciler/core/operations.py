"""What is under way: one operation per agent at a time, and none waits for another agent's."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import Protocol

from hive_wire.paths import Layout

from ..model.desired import Valid
from ..model.plan import Action, Kind
from ..runtime.base import Container, Observed, Phase, Runtime, RuntimeFailure
from .broker import Broker
from .containers import agent_file
from .drain import Drain
from .files import Owners, full_disk, make_agent, write_agent_file
from .gate import Gate, Priority
from .journal import Journal, Open

log = logging.getLogger(__name__)

START_DEADLINE = 300.0  # seconds
BUILD_DEADLINE = 2100.0  # of a start that builds a system first
STOP_DEADLINE = 120.0
UPDATE_DEADLINE = 400.0  # a switch of a system and, where it fails, its undoing: 180 s each
DESTROY_DEADLINE = 900.0  # an agent may leave millions of files
OBSERVE_DEADLINE = 30.0
FILES_DEADLINE = 30.0
STOP_GRACE = 10.0
NOW_GRACE = 3.0
STARTS, BUILDS, UPDATES = 4, 2, 16  # at once
WORLD_BUILDS = "nixos"  # the runtime whose starts build a system first


@dataclass
class Operation:
    """One action under way. While `waits` is True it only waits and may be called off."""

    action: Action
    priority: Priority = Priority.CHANGE
    now_by: str | None = None  # who wants no waiting
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    since: float = field(default_factory=time.time)  # it was planned, later: it began
    reason: str = "Waiting"
    message: str = "waits for its turn"
    waits: bool = True
    clears: frozenset[str] = frozenset()  # containers that it ends under other names
    builds: bool = False
    is_cut: bool = False  # by the end of this process, or of the swarm
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class Wanted:
    """What is to run for one uid now."""

    name: str
    valid: Valid
    container: Container


class World(Protocol):
    """What an operation reads at the moment it acts, not when it was planned, and whom it tells."""

    def wanted(self, uid: str) -> Wanted | None:
        """None when nothing is to run: stopped, or gone."""

    def container(self, uid: str) -> str | None:
        """The name that its container is to have, also while it is stopped; None when it is gone
        for certain."""

    def seen(self, uid: str) -> Observed | None: ...

    def is_lost(self, uid: str) -> bool:
        """Whether nothing has told for long what its container runs."""

    def started(self, uid: str, wanted: Wanted) -> None: ...

    def stopping(self, uid: str) -> None: ...

    def begun(self, operation: Operation) -> None: ...

    def finished(self, operation: Operation, failure: RuntimeFailure | None) -> None: ...

    def changed(self, uid: str) -> None: ...


class Operations:
    def __init__(
        self,
        layout: Layout,
        owners: Owners,
        *,
        runtime: Runtime,
        broker: Broker,
        world: World,
        journal: Journal,
    ) -> None:
        self._layout = layout
        self._owners = owners
        self._runtime = runtime
        self._broker = broker
        self._world = world
        self._journal = journal
        self._builds = runtime.name == WORLD_BUILDS
        self.gates = {"start": Gate(STARTS), "build": Gate(BUILDS), "update": Gate(UPDATES)}
        self.under_way: dict[str, Operation] = {}
        self._places: dict[str, Operation] = {}  # by the container that each is about
        self._clearing: dict[str, Operation] = {}  # by uid: those with `clears`
        self._looking = asyncio.Lock()  # one after the other: each takes a while in a large swarm

    def start(
        self, action: Action, priority: Priority = Priority.CHANGE, now_by: str | None = None
    ) -> bool:
        """Begin, unless something is under way for this agent or its container's name."""
        if action.uid in self.under_way or action.container in self._places:
            return False
        if any(action.container in other.clears for other in self._clearing.values()):
            return False
        operation = Operation(action, priority, now_by)
        self.under_way[action.uid] = self._places[action.container] = operation
        operation.task = asyncio.create_task(self._run(operation), name=action.container)
        return True

    async def call_off(self, uid: str) -> None:
        """End an operation that only waits yet."""
        operation = self.under_way.get(uid)
        if operation is not None and operation.waits and operation.task is not None:
            operation.task.cancel()
            await asyncio.wait([operation.task])

    async def close(self) -> None:
        """Cancel everything; what was half done is found by observation and finished later."""
        tasks = [o.task for o in self.under_way.values() if o.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # -- one operation -------------------------------------------------------------

    async def _run(self, operation: Operation) -> None:
        failure: RuntimeFailure | None = None
        try:
            await self._act(operation)
        except RuntimeFailure as error:
            failure = error
        except TimeoutError:
            what = operation.action.kind.value
            failure = RuntimeFailure("Deadline", f"{what} did not end in time")
        except OSError as error:
            failure = RuntimeFailure(*(full_disk(str(error)) or ("Failed", str(error))))
        except Exception as error:
            log.exception("%s of %s failed", operation.action.kind.value, operation.action.agent)
            failure = RuntimeFailure("Failed", f"{type(error).__name__}: {error}")
        except asyncio.CancelledError:
            operation.is_cut = True
            raise
        finally:
            try:
                if not operation.waits and not operation.is_cut:  # else the next start tells
                    async with asyncio.timeout(FILES_DEADLINE):
                        await asyncio.to_thread(self._journal.end, operation.action.uid)
            except TimeoutError:
                log.warning("the journal is not written in time; does the disk hang?")
            finally:
                del self.under_way[operation.action.uid]
                del self._places[operation.action.container]
                self._world.finished(operation, failure)

    async def _act(self, operation: Operation) -> None:
        match operation.action.kind:
            case Kind.CREATE | Kind.START:
                await self._bring_up(operation)
            case Kind.UPDATE:
                await self._update(operation)
            case Kind.ADOPT:
                await self._adopt(operation)
            case Kind.RESTART | Kind.STOP | Kind.DESTROY:
                await self._take_down_and_on(operation)

    async def _take_down_and_on(self, operation: Operation) -> None:
        uid, kind = operation.action.uid, operation.action.kind
        drain = Drain(
            self._broker,
            uid,
            operation.token,
            see=lambda: self._world.seen(uid),
            say=lambda reason, message: self._say(operation, reason, message),
        )
        try:
            if kind is Kind.RESTART:
                await self._prepare(operation)
            if operation.now_by is not None:
                await drain.now(operation.now_by)
            else:
                await drain.wait()
            ended = await self._take_down(operation, drain)
            if ended is None:
                return
            if kind is Kind.DESTROY and self._world.container(uid) is None:  # it did not come back
                if operation.action.container in ended:  # else it is another's now, or gone
                    async with asyncio.timeout(DESTROY_DEADLINE):
                        await self._runtime.destroy(operation.action.container)
            elif kind is Kind.RESTART:
                await self._bring_up(operation)
        finally:
            await drain.end()

    async def _take_down(self, operation: Operation, drain: Drain) -> frozenset[str] | None:
        """The names under which it is stopped now; None when nothing is done, since a fresh look
        shows that it runs as it should, or a turn may have begun while this waited."""
        action = operation.action
        async with self.gates["start"].enter(operation.priority):
            async with self._looking:
                async with asyncio.timeout(OBSERVE_DEADLINE):
                    observed = await self._runtime.observe()
                before, uids = self._world.seen(action.uid), ("", action.uid)
                ours = [o for o in observed if o.uid in uids]  # few, of thousands
                mine = [o for o in ours if _is_its(o, action, before)]
            if self._is_fine(action.uid, mine):
                return None
            if not mine and before is not None and before.phase is not Phase.STOPPED:
                raise RuntimeFailure("RecordLost", f"{before.name} cannot be told from others now")
            if self._is_in_doubt(action.uid, mine):
                raise RuntimeFailure("RecordLost", f"nothing tells now what {mine[0].name} runs")
            if operation.now_by is None and not await drain.still():
                return None
            # Who has such a name next must not start while its last container is being ended.
            operation.clears = frozenset(o.name for o in mine) - {action.container}
            self._clearing[action.uid] = operation
            try:
                await self._end(operation, mine)
            finally:
                del self._clearing[action.uid]
        return frozenset(o.name for o in mine)

    async def _end(self, operation: Operation, mine: list[Observed]) -> None:
        action = operation.action
        await self._begin(operation, "Stopping", "its container is being stopped")
        self._world.stopping(action.uid)
        grace = STOP_GRACE if operation.now_by is None else NOW_GRACE
        for seen in mine:
            if seen.phase is not Phase.STOPPED:
                async with asyncio.timeout(STOP_DEADLINE):
                    await self._runtime.stop(seen.name, grace)
            if seen.name != action.container:
                await self._clear(operation, seen.name)

    async def _clear(self, operation: Operation, name: str) -> None:
        """Remove what is left under a former name, unless another agent is about to have it, or
        it is its own again."""
        if name in self._places:
            return
        if self._world.container(operation.action.uid) == name:
            return
        async with asyncio.timeout(OBSERVE_DEADLINE):
            observed = await self._runtime.observe()
        if any(o.name == name and o.uid == operation.action.uid for o in observed):
            async with asyncio.timeout(DESTROY_DEADLINE):
                await self._runtime.destroy(name)

    def _is_fine(self, uid: str, observed: list[Observed]) -> bool:
        wanted = self._world.wanted(uid)
        return wanted is not None and any(
            o.phase is Phase.RUNNING
            and (o.name, o.restart_key) == (wanted.container.name, wanted.container.restart_key)
            for o in observed
        )

    def _is_in_doubt(self, uid: str, observed: list[Observed]) -> bool:
        """Whether it may run what is wanted by now, as long as a plan would wait for its record."""
        unknown = any(o.phase is Phase.RUNNING and o.restart_key is None for o in observed)
        return unknown and self._world.wanted(uid) is not None and not self._world.is_lost(uid)

    async def _prepare(self, operation: Operation) -> None:
        """Build what is wanted, before anything is touched; a newer revision calls it off."""
        wanted = self._world.wanted(operation.action.uid)
        if wanted is None or not self._builds:
            return
        async with self.gates["build"].enter(operation.priority):
            operation.builds = True
            self._say(operation, "Building", f"builds revision {wanted.valid.revision[:12]}")
            async with asyncio.timeout(BUILD_DEADLINE):
                await self._runtime.prepare(wanted.container)
            operation.builds = False

    async def _bring_up(self, operation: Operation) -> None:
        if operation.action.kind is not Kind.RESTART:
            await self._prepare(operation)
        async with self.gates["start"].enter(operation.priority):
            wanted = self._wanted(operation)
            if wanted is None:
                return  # it changed while this waited: the next round plans anew
            await self._begin(operation, "Starting", "its container is being started")
            await self._write_files(wanted)
            async with asyncio.timeout(BUILD_DEADLINE if self._builds else START_DEADLINE):
                await self._runtime.start(wanted.container)
        self._world.started(operation.action.uid, wanted)

    async def _update(self, operation: Operation) -> None:
        await self._prepare(operation)
        async with self.gates["update"].enter(operation.priority):
            wanted = self._unchanged(operation)
            if wanted is None:
                return
            await self._begin(operation, "Updating", operation.action.reason)
            await self._write_files(wanted)
            async with asyncio.timeout(UPDATE_DEADLINE):
                await self._runtime.update(wanted.container)
            self._world.started(operation.action.uid, wanted)

    async def _adopt(self, operation: Operation) -> None:
        async with self.gates["update"].enter(operation.priority):
            wanted = self._unchanged(operation)
            if wanted is not None:
                await self._write_files(wanted)
                self._world.started(operation.action.uid, wanted)

    def _unchanged(self, operation: Operation) -> Wanted | None:
        """What is wanted, if it is still what was planned; else the next round plans anew."""
        wanted = self._wanted(operation)
        return wanted if wanted and wanted.valid.revision == operation.action.after else None

    def _wanted(self, operation: Operation) -> Wanted | None:
        """What is to run now, where that is the container that this was planned for."""
        wanted = self._world.wanted(operation.action.uid)
        return wanted if wanted and wanted.container.name == operation.action.container else None

    def make_rooms(self, uids: list[str]) -> None:
        """The directories that agents' sockets are bound in. Blocks."""
        for uid in uids:
            if not (self._layout.agent_run(uid) / "model").is_dir():
                make_agent(self._layout, uid, self._owners)

    async def _write_files(self, wanted: Wanted) -> None:
        def write() -> None:
            make_agent(self._layout, wanted.container.uid, self._owners)
            write_agent_file(self._layout, agent_file(wanted.name, wanted.valid))

        async with asyncio.timeout(FILES_DEADLINE):
            await asyncio.to_thread(write)

    async def _begin(self, operation: Operation, reason: str, message: str) -> None:
        """From here on it is not called off."""
        action = operation.action
        if operation.waits:
            operation.waits = False
            self._world.begun(operation)
            operation.since = time.time()
            entry = Open(
                action.uid, action.agent, action.kind.value, action.after or "", operation.since
            )
            async with asyncio.timeout(FILES_DEADLINE):
                await asyncio.to_thread(self._journal.begin, entry)
        self._say(operation, reason, message)

    def _say(self, operation: Operation, reason: str, message: str) -> None:
        if (operation.reason, operation.message) != (reason, message):
            operation.reason, operation.message = reason, message
            self._world.changed(operation.action.uid)


def _is_its(seen: Observed, action: Action, before: Observed | None) -> bool:
    """Whether the action is about this container. Whose record is lost is known by its place: the
    name that the agent has now may be another's yet."""
    if seen.uid:
        return seen.uid == action.uid
    if not action.uid:
        return seen.name == action.container
    return before is not None and seen.name == before.name
