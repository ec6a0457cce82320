"""The loop: wake, read, observe, plan, act, record. It awaits no agent: operations run beside it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace

from hive_wire.jsonrpc import RpcError
from hive_wire.paths import Layout

from ..git.errors import HistoryRewritten, HiveError, UnrecordedCommit
from ..git.hive import Hive
from ..model.desired import Valid
from ..model.memory import Failure
from ..model.plan import Kind, Plan
from ..runtime.base import Observed, Phase, Runtime, RuntimeFailure
from ..runtime.toolchain import NoTool
from . import containers, recall
from .broker import Broker
from .containers import Toolchain
from .drain import Drain
from .files import Owners
from .gateway import Gateway
from .keeping import Keeper
from .operations import NOW_GRACE, Operation, Operations, Wanted
from .outcomes import Crash, Outcomes
from .picture import FRESH, Picture

log = logging.getLogger(__name__)

RESYNC = 60.0  # seconds
SWEEP = 3600.0
DEBOUNCE = 0.02  # many events of one moment are one round
READ_DEADLINE = 60.0
OBSERVE_DEADLINE = 30.0
SHUTDOWN_DEADLINE = 20.0
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
        self._operations = Operations(
            layout, owners, runtime=runtime, broker=self.broker, world=self
        )
        self._wake = asyncio.Event()
        self._round_lock = asyncio.Lock()
        self._settled: set[str] = set()  # whose operations ended since the last observation
        self._now: dict[str, str] = {}  # uid → who wants it without waiting
        self._lifted = False
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
        picture = self.picture
        async with self._round_lock:
            await self.keeper.open()
            picture.rounds += 1
            fresh = await self._look()
            if fresh and self._nothing_new():
                picture.at = time.time()
                return picture.plan
            self._is_calm = False
            if fresh:
                self._remember()
                picture.plan = picture.dry_run()
                if picture.suspended is None:
                    await self._steer(picture.plan)
                await self._tell()
                await self.keeper.keep()
                self._is_calm = self._nothing_due()
                picture.at = time.time()
            self.changed()
            return picture.plan if fresh else None

    def _nothing_new(self) -> bool:
        """Whether this round looked at what the last one saw, and time alone changes nothing."""
        before, self._inputs = self._inputs, self.picture.inputs()
        return self._is_calm and self.outcomes.is_done and before == self._inputs

    def _nothing_due(self) -> bool:
        picture = self.picture
        return (
            not self._operations.under_way
            and not self._settled
            and not self._now
            and self._lifted
            and picture.plan is not None
            and not picture.plan.actions
            and all(b.until is None for b in picture.plan.blocked)
            and not any(m.crashes or m.retry_at for m in picture.memory.values())
        )

    async def _tidy(self) -> None:
        """Watch the refs, anew after a watch broke; end proposals that are too old."""
        async with asyncio.timeout(READ_DEADLINE):
            await self.hive.watch(self.refs_moved)
            if time.monotonic() - self._swept > SWEEP:
                self._swept = time.monotonic()
                if await self.hive.sweep():
                    self.outcomes.look()

    async def observe(self) -> None:
        """Look at the containers now. Raises RuntimeFailure, TimeoutError."""
        async with asyncio.timeout(OBSERVE_DEADLINE):
            self.picture.see(await self.runtime.observe())

    async def ask_broker(self) -> None:
        """What the broker knows of each agent now."""
        self.picture.statuses = await self.broker.agents()

    def at_once(self, uid: str, by: str) -> None:
        """The next stop or restart of this agent waits for no turn."""
        self._now[uid] = by
        self._is_calm = False

    async def shutdown(self, by: str) -> list[str]:
        """Stop every container within seconds; nothing is started again by this process."""
        self.picture.suspended = f"{by} stopped the swarm"
        async with self._round_lock:
            await self._operations.close()
            observed = await self.runtime.observe()
            live = [o for o in observed if o.phase is not Phase.STOPPED]
            async with asyncio.timeout(SHUTDOWN_DEADLINE):
                await asyncio.gather(*(self._stop_now(o, by) for o in live))
        self.wake()
        return [o.name for o in live]

    # -- one round -------------------------------------------------------------------

    async def _look(self) -> bool:
        """Read and observe. False when either failed: then nothing is concluded."""
        picture = self.picture
        self._is_calm = self._is_calm and not self._settled
        self._settled.clear()
        try:
            picture.toolchain = await asyncio.to_thread(self._find_toolchain)
            await self.observe()
            async with asyncio.timeout(READ_DEADLINE):
                picture.desired = await self.hive.read()
        except RuntimeFailure as error:
            picture.stalled = (error.reason, error.message)
        except NoTool as error:
            picture.stalled = ("NoToolchain", str(error))
        except (HistoryRewritten, UnrecordedCommit) as error:
            picture.stalled = (type(error).__name__, error.message)
        except HiveError as error:
            picture.stalled = ("ReadFailed", error.message)
        except TimeoutError:
            picture.stalled = ("Deadline", "git or the runtime did not answer in time")
        else:
            picture.stalled = None
        await self.ask_broker()
        return picture.stalled is None

    def _remember(self) -> None:
        picture = self.picture
        assert picture.desired is not None
        now = time.time()
        picture.memory = picture.recalled(picture.desired)
        self.keeper.forget(self._unsettled())
        for uid, memory in picture.memory.items():
            if uid in self._unsettled():
                continue
            seen = picture.seen(uid)
            after = recall.seen(memory, seen, now)
            if after.crash_retry_at > memory.crash_retry_at:
                status = seen.exit_status if seen is not None else None
                words = "" if status is None else f" with status {status}"
                self.outcomes.crashed(Crash(memory.name, uid, now, len(after.crashes), words))
            picture.memory[uid] = after

    async def _steer(self, plan: Plan) -> None:
        """Call off what is wanted no longer, begin what is planned."""
        planned = {action.uid: action for action in plan.actions}
        for uid, operation in list(self._operations.under_way.items()):
            action = planned.get(uid)
            other = action is None or action.kind is not operation.action.kind
            if operation.waits and (other or self._now.get(uid) != operation.now_by):
                await self._operations.call_off(uid)
                self._settled.discard(uid)
        for action in plan.actions:
            if action.uid not in self._settled:
                self._operations.start(action, self._now.get(action.uid))
        destroyed = {a.uid for a in plan.actions if a.kind is Kind.DESTROY}
        self.picture.may_destroy |= destroyed
        for uid in set(self._now) - set(planned) - set(self._operations.under_way):
            del self._now[uid]

    async def _tell(self) -> None:
        """Registry, fences of a former process, and what requesters wait for."""
        picture = self.picture
        assert picture.desired is not None
        known = picture.registry()
        # Broker and gateway bind when they are told, so the directories come first.
        await asyncio.to_thread(self._operations.make_rooms, [a.uid for a in known.agents])
        try:
            await self.broker.publish(known)
            await self.gateway.publish(known)
            await self._lift_fences()
        except (RpcError, TimeoutError) as error:
            log.warning("broker or gateway: %s", error)
        standing = picture.standing(self._unsettled())
        if standing is not None:
            await self.outcomes.tell(standing)

    async def _lift_fences(self) -> None:
        if self._lifted or not self.broker.link.is_up:
            return
        for uid in await self.broker.fences():
            if uid not in self._operations.under_way:
                await self.broker.unfence(uid)
        self._lifted = True

    def _unsettled(self) -> frozenset[str]:
        """Whose containers are or were being changed while this round looks."""
        return frozenset(self._operations.under_way) | self._settled

    async def _rest(self) -> None:
        """Until something happens, something is due, or the resync."""
        await asyncio.sleep(DEBOUNCE)
        blocked = self.picture.plan.blocked if self.picture.plan is not None else ()
        dues = [b.until - time.time() for b in blocked if b.until is not None]
        try:
            async with asyncio.timeout(max(0.0, min([RESYNC * random.uniform(0.9, 1.1), *dues]))):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _stop_now(self, seen: Observed, by: str) -> None:
        drain = Drain(
            self.broker, seen.uid, f"down-{seen.uid}", see=lambda: seen, say=lambda *_: None
        )
        try:
            if seen.phase is not Phase.BROKEN and self.broker.link.is_up:
                await drain.now(by)
            self.stopping(seen.uid)
            await self.runtime.stop(seen.name, NOW_GRACE)
        finally:
            await drain.end()

    # -- World: what operations ask and tell -------------------------------------------

    def wanted(self, uid: str) -> Wanted | None:
        picture = self.picture
        found = picture.usable().get(uid)
        if found is None or picture.desired is None or picture.toolchain is None:
            return None
        name, valid = found
        if picture.suspended is not None or valid.spec.state != "running":
            return None
        built = containers.build(self.layout, picture.desired, name, valid, picture.toolchain)
        return Wanted(name, valid, built)

    def seen(self, uid: str) -> Observed | None:
        return self.picture.seen(uid)

    def started(self, uid: str, valid: Valid) -> None:
        memory = self.picture.memory
        memory[uid] = recall.started(memory.get(uid, FRESH), valid)

    def stopping(self, uid: str) -> None:
        memory = self.picture.memory
        memory[uid] = recall.stopping(memory.get(uid, FRESH))

    def finished(self, operation: Operation, failure: RuntimeFailure | None) -> None:
        memory, action = self.picture.memory, operation.action
        before = memory.get(action.uid, FRESH)
        self._settled.add(action.uid)
        if failure is not None:
            log.warning("%s %s: %s", action.kind.value, action.container, failure.message)
            memory[action.uid] = recall.failed(
                replace(before, expected=False),
                Failure(action.after or "", failure.reason, failure.message, failure.permanent),
                time.time(),
                random.uniform(0.75, 1.25),
            )
        elif not operation.waits:
            self._now.pop(action.uid, None)
            memory[action.uid] = recall.succeeded(before)
            log.info("%s %s: done (%s)", action.kind.value, action.container, action.reason)
        self.wake()

    def changed(self) -> None:
        self.picture.judge(self._operations.under_way, self.broker.down_since)
        self._on_change()
