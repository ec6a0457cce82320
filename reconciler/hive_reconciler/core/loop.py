"""The loop: wake, read, observe, plan, act, record. It awaits no agent: operations run beside it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError

from ..git.errors import HiveError
from ..git.hive import Hive
from ..model.layered import THICK, since
from ..model.memory import AgentMemory
from ..model.past import Outcome
from ..model.plan import Action, Kind, Plan
from ..runtime.base import Runtime
from . import recall
from .acting import Acting
from .agents import FRESH, Agent
from .broker import Broker
from .containers import Toolchain
from .files import Owners
from .gate import Priority
from .gateway import Gateway
from .keeping import Keeper
from .looking import READ_DEADLINE, look, observe
from .metrics import Metrics
from .operations import Operation, Operations
from .outcomes import Crash, Outcomes
from .picture import Picture
from .planner import Swarm
from .rounds import Rounds
from .shutdown import stop_all
from .slices import Pace, in_slices

log = logging.getLogger(__name__)

RESYNC = 60.0  # seconds
SWEEP = 3600.0
ROUND_DEADLINE = 300.0  # more than all that it waits for may take
DEBOUNCE = 0.02  # many events of one moment are one round
BEGUN = 16  # operations in one step of the event loop
TOLD = "told.json"


class Reconciler:
    """One swarm on this host. `on_change` is called when there may be something new to show."""

    def __init__(
        self,
        layout: Layout,
        owners: Owners,
        hive: Hive,
        *,
        runtime: Runtime,
        find_toolchain: Callable[[], Toolchain],
        on_change: Callable[[], None],
    ) -> None:
        self.layout = layout
        self.hive = hive
        self.runtime = runtime
        self.picture = Picture()
        self.broker = Broker(layout, self.wake)
        self.gateway = Gateway(layout)
        self.outcomes = Outcomes(hive, self.broker, layout.reconciler / TOLD)
        self.keeper = Keeper(layout, self.picture)
        self._find_toolchain = find_toolchain
        self._on_change = on_change
        self.rounds = Rounds()
        self.metrics = Metrics()
        self._acting = Acting(
            layout, self.picture, self.metrics, on_end=self.wake, on_say=self._said
        )
        self._operations = Operations(
            layout,
            owners,
            runtime=runtime,
            broker=self.broker,
            world=self._acting,
            journal=self.keeper.journal,
        )
        self._wake = asyncio.Event()
        self._round_lock = asyncio.Lock()
        self._roomed: Mapping[str, object] = {}  # agents with directories for their sockets
        self._recalled: Mapping[str, Agent] = {}  # of whom is remembered what was seen
        self._skipped: frozenset[str] = frozenset()  # uids that were being changed then
        self._inputs: tuple[object, ...] = ()  # what the last round saw
        self._is_calm = False  # and that nothing follows from it by itself
        self._swept = -SWEEP

    # -- running ---------------------------------------------------------------------

    def wake(self) -> None:
        self._wake.set()

    def refs_moved(self) -> None:
        self.outcomes.look()
        self.wake()

    async def run(self) -> None:
        """Converge until cancelled. Containers go on when it ends."""
        self.runtime.adopt(lambda _name: self.wake())
        try:
            while True:
                self._wake.clear()
                try:
                    await self._tidy()
                    await self.round()
                except Exception:
                    log.exception("a round failed; the next one starts afresh")
                await self._rest()
        finally:
            await self._operations.close()
            await self.runtime.close()

    async def round(self) -> Plan | None:
        """One pass. Begins actions and does not wait for them. None when nothing could be read."""
        async with self._round_lock:
            token, began = self.rounds.asked, time.monotonic()
            try:
                async with asyncio.timeout(ROUND_DEADLINE):
                    result, plan = await self._pass()
            except TimeoutError:
                words = f"the round did not end within {ROUND_DEADLINE:.0f} s; does the disk hang?"
                log.warning("%s", words)
                self.picture.stalled = "Deadline", words
                await self._show()
                result, plan = "error", None
            except Exception as error:
                self.metrics.panics += 1
                words = f"the round broke off ({error!r}); see logs/reconciler.log, and report it"
                self.picture.stalled = "Failed", words
                await self._show()
                raise
            finally:
                self.rounds.end(token)
                self.metrics.round_time.add(time.monotonic() - began)
            self.metrics.rounds[result] += 1
            return plan

    async def asked_round(self) -> Plan | None:
        """What the next whole round concludes; one round serves all who ask meanwhile."""
        token = self.rounds.ask()
        self.wake()
        await self.rounds.wait(token)
        return self.picture.plan if self.picture.stalled is None else None

    async def _pass(self) -> tuple[str, Plan | None]:
        picture = self.picture
        await self.keeper.open()
        pace = Pace()
        fresh = await self._look()
        await pace.rest()
        if fresh and self._nothing_new():
            picture.at = time.time()
            return "unchanged", picture.plan
        self._is_calm = False
        if fresh:
            await self._remember()
            await pace.rest()
            await self.keeper.keep()  # first: who is killed at what follows takes no old spec
            swarm = picture.swarm()
            picture.plan = await in_slices(picture.planning(swarm))
            await pace.rest()
            if picture.suspended is None:
                await self._steer(picture.plan, swarm)
            await pace.rest()
            await self._tell()
            await self.keeper.keep_ports()
            await pace.rest()
            self._is_calm = self._nothing_due()
            await pace.rest()
            picture.at = time.time()
        else:
            self._find_again()
        await self._show()
        return ("success", picture.plan) if fresh else ("error", None)

    def _nothing_new(self) -> bool:
        """Whether this round looked at what the last one saw, and time alone changes nothing."""
        before, self._inputs = self._inputs, self.picture.inputs()
        is_over = self._is_calm and self.outcomes.is_done and not self.broker.fences_left
        return is_over and before == self._inputs

    def _nothing_due(self) -> bool:
        picture = self.picture
        return (
            not self._operations.under_way
            and not self._acting.settled
            and not self._acting.hurried
            and not self.broker.fences_left
            and picture.plan is not None
            and not picture.plan.actions
            and all(b.until is None for b in picture.plan.blocked)
            and not picture.agents.timely
            and picture.is_answering()
        )

    async def _tidy(self) -> None:
        """Watch the refs, anew after a watch broke; end proposals that are too old."""
        try:
            async with asyncio.timeout(READ_DEADLINE):
                await self.hive.watch(self.refs_moved)
                if time.monotonic() - self._swept > SWEEP:
                    self._swept = time.monotonic()
                    if await self.hive.sweep():
                        self.outcomes.look()
        except (HiveError, OSError) as error:  # a round needs no hints, and says what it lacks
            log.warning("refs are not watched, or old proposals not ended: %r", error)

    async def observe(self) -> None:
        """Look at the containers now. Raises RuntimeFailure, TimeoutError."""
        await observe(self.picture, self.runtime)

    async def ask_broker(self) -> None:
        """What the broker knows of each agent now."""
        await self.picture.hear(await self.broker.agents())

    def figures(self) -> str:
        """For Prometheus."""
        gates = self._operations.gates
        return self.metrics.text(self.picture, self._operations.under_way, gates)

    def at_once(self, uid: str, by: str) -> None:
        """The next stop or restart of this agent waits for no turn."""
        self._acting.hurried[uid] = by
        self._is_calm = False

    async def shutdown(self, by: str) -> list[str]:
        """Stop every container within seconds; nothing is started again by this process. Raises
        RuntimeFailure when some did not stop."""
        if self.picture.suspended is None:  # who came first did it
            self.picture.suspended = f"{by} stopped the swarm"
        async with self._round_lock:
            await self._operations.close()
            stopped = await stop_all(self.runtime, self.broker, by, self._acting.stopping)
        self.wake()
        return stopped

    # -- one round -------------------------------------------------------------------

    async def _look(self) -> bool:
        """Read and observe. False when either failed: then nothing is concluded."""
        picture = self.picture
        self._is_calm = self._is_calm and not self._acting.settled
        self._acting.settled.clear()
        picture.stalled = await look(picture, self.hive, self.runtime, self._find_toolchain)
        await picture.hear(await self.broker.recent())
        return picture.stalled is None

    def _find_again(self) -> None:
        """Nothing is concluded; but whose record was read meanwhile is not lost since before."""
        picture = self.picture
        known = {uid: recall.told(m, picture.seen(uid)) for uid, m in picture.memory.items()}
        picture.remember({uid: m for uid, m in known.items() if m is not picture.memory[uid]})

    async def _remember(self) -> None:
        """What this round's look says of each agent that is not as the last one saw it."""
        picture, now, pace = self.picture, time.time(), Pace()
        agents, unsettled = picture.agents, self._unsettled()  # those may end meanwhile, no more
        await pace.rest()
        names = since(self._recalled, agents.by_name) | agents.timely
        await pace.rest()
        names = {name for name in names if name in agents.by_name}
        uids = set(self._skipped)
        for some in _parts(names):
            fresh = [a for name in some if (a := picture.agents.by_name.get(name)) is not None]
            uids |= {agent.uid for agent in fresh}
            picture.remember(
                {
                    a.uid: a.memory
                    for a in fresh
                    if a.valid and picture.memory.get(a.uid) is not a.memory
                }
            )
            await pace.rest()
        self.keeper.forget(unsettled)
        await pace.rest()
        uids = {uid for uid in uids if uid in picture.memory} | picture.leaving
        await pace.rest()
        clock = time.monotonic()
        for some in _parts(uids - unsettled):
            self._recall([uid for uid in some if uid in picture.memory], now, clock)
            picture.catch_up()
            await pace.rest()
        self._recalled, self._skipped = agents.by_name, frozenset(uids & unsettled)

    def _recall(self, uids: Sequence[str], now: float, clock: float) -> None:
        picture = self.picture
        nameless = {one.name for one in picture.sight.lost}  # whose, is not known
        before = {
            uid: memory
            for uid in uids
            if (memory := picture.memory[uid]).container not in nameless
            or picture.seen(uid) is not None
        }
        news = {u: recall.seen(m, picture.seen(u), now, clock) for u, m in before.items()}
        picture.remember({uid: after for uid, after in news.items() if after is not before[uid]})
        for uid, after in news.items():
            if after.crash_retry_at > before[uid].crash_retry_at:
                self._crashed(uid, after, now)

    def _crashed(self, uid: str, memory: AgentMemory, now: float) -> None:
        seen = self.picture.seen(uid)
        status = seen.exit_status if seen is not None else None
        words = "" if status is None else f" with status {status}"
        self.outcomes.crashed(Crash(memory.name, uid, now, len(memory.crashes), words))
        text, revision = f"it ended by itself{words}", memory.crashed_revision or ""
        self._acting.note(uid, memory.name, Outcome("crash", revision, "Crashed", text, now, now))

    async def _steer(self, plan: Plan, swarm: Swarm) -> None:
        """Call off what is wanted no longer, begin what is planned: of `swarm`, so that what is
        another since is left to the next round."""
        planned, pace = {action.uid: action for action in plan.actions}, Pace()
        for uid, operation in list(self._operations.under_way.items()):
            await pace.rest()
            other = _is_other(operation, planned.get(uid))
            if operation.waits and (other or self._acting.hurried.get(uid) != operation.now_by):
                await self._operations.call_off(uid)
                self._acting.settled.discard(uid)
        begun = 0
        for action in plan.actions:
            await pace.rest()
            if action.uid in self._acting.settled:
                continue
            if not self._stands(action, swarm):
                self.wake()
                continue
            by = self._acting.hurried.get(action.uid)
            if self._operations.start(action, self._priority(action), by):
                self.metrics.adds += 1
                begun += 1
                if begun % BEGUN == 0:
                    await asyncio.sleep(0)  # their first steps, before those of others
        await pace.rest()
        destroyed = {a.uid for a in plan.actions if a.kind is Kind.DESTROY}
        self.picture.may_destroy |= destroyed
        for uid in set(self._acting.hurried) - set(planned) - set(self._operations.under_way):
            del self._acting.hurried[uid]

    def _stands(self, action: Action, swarm: Swarm) -> bool:
        """Whether nothing that this was planned from is another now."""
        picture = self.picture
        is_present = picture.suspended is None and picture.is_of(swarm)
        return is_present and picture.is_the_same(action.uid, swarm)

    def _priority(self, action: Action) -> Priority:
        if action.uid in self._acting.hurried:
            return Priority.PEOPLE
        memory = self.picture.memory.get(action.uid, FRESH)
        if action.drift or memory.failure is not None:
            return Priority.RESYNC
        return Priority.CHANGE

    async def _tell(self) -> None:
        """Registry, fences of a former process, and what requesters wait for."""
        picture = self.picture
        assert picture.desired is not None
        known = await in_slices(picture.registering())
        try:  # broker and gateway bind when they are told, so the directories come first
            come = (uid for uid in since(self._roomed, known) if uid not in self._roomed)
            if rooms := sorted(come):
                await asyncio.to_thread(self._operations.make_rooms, rooms)
            self._roomed = known
            await self.broker.publish(known)
            await self.gateway.publish(known)
            await self._lift_fences()
        except (RpcError, OSError) as error:
            log.warning("broker or gateway are not told: %s", error)
        standing = picture.standing(self._unsettled())
        if standing is not None:
            await self.outcomes.tell(standing)

    async def _lift_fences(self) -> None:
        if not self.broker.fences_left or not self.broker.link.is_up:
            return
        self.broker.fences_left = False
        try:
            for uid in await self.broker.fences():
                if uid not in self._operations.under_way:
                    await self.broker.unfence(uid)
                else:  # its own fence, or one that nobody else lifts
                    self.broker.fences_left = True
        except BaseException:
            self.broker.fences_left = True
            raise

    def _unsettled(self) -> frozenset[str]:
        """Whose containers are or were being changed while this round looks."""
        return frozenset(self._operations.under_way) | self._acting.settled

    async def _rest(self) -> None:
        """Until something happens, something is due, or the resync."""
        await asyncio.sleep(DEBOUNCE)
        blocked = self.picture.plan.blocked if self.picture.plan is not None else ()
        dues = [b.until - time.time() for b in blocked if b.until is not None]
        if self.picture.stalled is not None:  # no round moves what is due: not again at once
            dues = [due for due in dues if due > 0.0]
        try:
            async with asyncio.timeout(max(0.0, min([RESYNC * random.uniform(0.9, 1.1), *dues]))):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _show(self) -> None:
        judging = self.picture.judging(self._operations.under_way, self.broker.down_since)
        await in_slices(judging)
        self._on_change()

    def _said(self, uid: str) -> None:
        """An operation has something new to show."""
        agent = self.picture.agents.by_uid.get(uid)
        if agent is not None:
            doing = self._operations.under_way
            self.picture.judge_one(agent.name, doing, self.broker.down_since)
        self._on_change()


def _parts(keys: Iterable[str]) -> Iterable[Sequence[str]]:
    """All of them, sorted, few enough at a time for mappings that are made of what changed."""
    order = sorted(keys)
    return (order[start : start + THICK] for start in range(0, len(order), THICK))


def _is_other(operation: Operation, action: Action | None) -> bool:
    """Whether what is planned now is not what the operation waits to do."""
    before = operation.action
    if action is None or (action.kind, action.container) != (before.kind, before.container):
        return True
    return operation.builds and action.after != before.after
