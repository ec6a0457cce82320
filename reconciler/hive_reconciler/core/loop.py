"""The loop: wake, read, observe, plan, act, record. It awaits no agent: operations run beside it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable

from hive_wire.paths import Layout

from ..git.errors import HiveError
from ..git.hive import Hive
from ..model.plan import Action, Kind, Plan
from ..runtime.base import Runtime
from .acting import Acting
from .agents import FRESH
from .broker import Broker
from .containers import Toolchain
from .files import Owners
from .gate import Priority
from .gateway import Gateway
from .keeping import Keeper
from .looking import READ_DEADLINE, look, observe
from .metrics import Metrics
from .operations import Operation, Operations
from .outcomes import Outcomes
from .picture import Picture
from .planner import Swarm
from .remembering import Remembering
from .rounds import Rounds
from .shutdown import stop_all
from .slices import Pace, in_slices
from .telling import Telling

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
        self._remembering = Remembering(self.picture, self.keeper, self._acting, self.outcomes)
        self._telling = Telling(
            self.picture, self._operations, self.broker, self.gateway, self.outcomes
        )
        self._wake = asyncio.Event()
        self._round_lock = asyncio.Lock()
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
            await self._remembering.remember(self._unsettled())  # those may end, no more begin
            await pace.rest()
            await self.keeper.keep()  # first: who is killed at what follows takes no old spec
            swarm = picture.swarm()
            picture.plan = await in_slices(picture.planning(swarm))
            await pace.rest()
            if picture.suspended is None:
                await self._steer(picture.plan, swarm)
            await pace.rest()
            await self._telling.tell(self._unsettled())
            await self.keeper.keep_ports()
            await pace.rest()
            self._is_calm = self._nothing_due()
            await pace.rest()
            picture.at = time.time()
        else:
            self._remembering.find_again()
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


def _is_other(operation: Operation, action: Action | None) -> bool:
    """Whether what is planned now is not what the operation waits to do."""
    before = operation.action
    if action is None or (action.kind, action.container) != (before.kind, before.container):
        return True
    return operation.builds and action.after != before.after
