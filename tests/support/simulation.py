"""One random life of a swarm under the real planner, loop, drain and backoff.

`simulate(seed)` gives the same trace each time; it raises Violation when an invariant breaks.
"""

import asyncio
import contextlib
import errno
import functools
import random
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

from support.sim_clock import Clock, VirtualLoop
from support.sim_world import LIVE, TOOLS, SimHive, SimLink, SimRuntime, Violation, World

from hive_reconciler.core import (
    acting,
    broker,
    drain,
    files,
    health,
    keeping,
    loop,
    operations,
    picture,
    planner,
)
from hive_reconciler.core import suspensions as suspending
from hive_reconciler.core.files import Owner, Owners
from hive_reconciler.core.planner import Swarm
from hive_reconciler.model.desired import Invalid, Unreadable, Valid
from hive_reconciler.model.memory import Memory
from hive_reconciler.runtime.base import Phase
from hive_wire.parse import SpecProblem
from hive_wire.paths import Layout
from hive_wire.spec import AgentSpec

CLOCKED = (acting, broker, drain, health, keeping, loop, operations, picture, suspending)
STEPS = 12
SETTLE = 3000.0  # virtual seconds until everything must be as it should
NAMES = tuple("abcdefgh")
_MKSTEMP = tempfile.mkstemp
_MINE = Owners(*(Owner(0, 0, 0o755) for _ in range(4)))


def simulate(seed):
    """The trace of this seed. Raises Violation."""
    virtual = VirtualLoop()
    clock, rng = Clock(virtual), random.Random(seed)
    shared = Path("/dev/shm")
    with contextlib.ExitStack() as stack:
        for module in CLOCKED:
            stack.enter_context(mock.patch.object(module, "time", clock))
        stack.enter_context(mock.patch.object(loop, "random", rng))
        stack.enter_context(mock.patch.object(acting, "random", rng))
        stack.enter_context(mock.patch.object(planner.Planner, "plan", _twice(rng)))
        stack.enter_context(mock.patch.object(files.os, "fsync", return_value=None))
        home = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)
        root = stack.enter_context(home)
        story = _Story(Layout(Path(root) / "root", Path(root) / "run", "-sim"), rng, clock)
        stack.enter_context(mock.patch.object(files.tempfile, "mkstemp", story.mkstemp))
        with asyncio.Runner(loop_factory=lambda: virtual) as runner:
            return runner.run(story.play())


def _twice(rng):
    """Invariant 7: the same inputs in another order, and planned from scratch, give the same."""
    plan = planner.Planner.plan

    @functools.wraps(plan)
    def checked(self, swarm, now):
        made, desired, memory = plan(self, swarm, now), swarm.desired, swarm.memory
        mixed = rng.sample(swarm.sight.all, len(swarm.sight.all))
        agents = dict(reversed(tuple(desired.agents.items())))
        again = Memory(dict(memory.agents), memory.may_destroy, memory.suspended)
        other = Swarm.of(replace(desired, agents=agents), mixed, again, swarm.toolchain)
        if plan(planner.Planner(), other, now) != made:
            raise Violation("7: the same inputs give another plan")
        return made

    return checked


class _Story:
    def __init__(self, layout, rng, clock):
        self.rng = rng
        self.clock = clock
        self.world = World(rng, clock)
        self.layout = layout
        self.serial = 0
        self.broken = []

    def mkstemp(self, *args, **options):
        """Every file that is kept begins with this."""
        if self.world.fails("disk"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return _MKSTEMP(*args, **options)

    async def play(self):
        asyncio.get_running_loop().set_exception_handler(self._heard)
        files.make_run(self.layout, _MINE)
        self.layout.reconciler.mkdir(parents=True)
        self.world.commit({name: self._fresh(name) for name in self.rng.sample(NAMES, 4)})
        self._begin()
        for _ in range(self.rng.randrange(STEPS // 2, STEPS)):
            await asyncio.sleep(self.rng.choice((0.0, 0.3, 2.0, 30.0, 400.0)) * self.rng.random())
            await self._step()
            self._judge()
        await self._settle()
        await self._end()
        for task in tuple(self.world.tasks):
            task.cancel()
        return self.world.trace

    def _heard(self, _loop, context):
        if isinstance(context.get("exception"), Violation):
            self.broken.append(context["exception"])

    # -- the reconciler --------------------------------------------------------------

    def _begin(self):
        world = self.world
        self.runtime = SimRuntime(world)
        self.core = loop.Reconciler(
            self.layout,
            _MINE,
            SimHive(world, self.runtime),
            runtime=self.runtime,
            find_toolchain=lambda: TOOLS,
            on_change=lambda: None,
        )
        self.core.broker.link = SimLink(world, self.core.broker, self.core.broker._events)
        self.core.gateway.link = SimLink(world, self.core.gateway, None)
        world.broker.link = self.core.broker.link
        parts = (self.core.broker.link, self.core)
        self.running = [asyncio.ensure_future(part.run()) for part in parts]

    async def _end(self):
        """kill -9: from here on nothing that this life does has an effect."""
        self.runtime.alive = self.core.broker.link.alive = False
        self.world.broker.link = None
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    def _judge(self):
        for operation_error in self.broken:
            raise operation_error
        failures = (m.failure for m in self.core.picture.memory.values())
        for failure in failures:  # an operation turns what it cannot explain into a failure
            if failure is not None and failure.message.startswith("Violation"):
                raise Violation(failure.message)
        live = [o.uid for o in self.world.containers.values() if o.phase in LIVE]
        if len(live) != len(set(live)):
            raise Violation("1: two live containers of one agent")

    # -- what happens to it ----------------------------------------------------------

    async def _step(self):
        steps = (
            *[self._change] * 6,
            self._burst,
            self._wipe,
            *[self._fault] * 3,
            self._crash,
            self._crash,
            self._restart,
            self._restart,
            self._broker,
            self._clock,
            self._suspend,
            self._now,
        )
        step = self.rng.choice(steps)
        self.world.say(step.__name__)
        done = step()
        if done is not None:
            await done

    def _fresh(self, name, **fields):
        self.serial += 1
        uid = f"{name}{self.serial:05d}".ljust(12, "x")
        return self._entry(AgentSpec(uid=uid, engine="rehearsal", **fields))

    def _entry(self, spec):
        self.serial += 1
        return Valid(spec, f"prompt {self.serial}", f"r{self.serial}", "t" * 40)

    def _change(self):
        agents = dict(self.world.tip.agents)
        name = self.rng.choice(NAMES)
        entry = agents.get(name)
        if not isinstance(entry, Valid):
            agents[name] = self.known.get(name) or self._fresh(name) if entry else self._fresh(name)
        else:
            self._alter(agents, name, entry)
        if agents:
            self.world.wiped = frozenset()
            self.world.commit(agents)

    @property
    def known(self):
        """The last good entry of each name, to mend a bad one with."""
        return self.__dict__.setdefault("_known", {})

    def _alter(self, agents, name, entry):
        self.known[name] = entry
        spec = entry.spec
        stopped = "running" if spec.state == "stopped" else "stopped"
        match self.rng.randrange(8):
            case 7:
                self._rename(agents, name)
            case 0 if len(agents) > 1:
                del agents[name]
            case 1:
                agents[name] = Invalid(
                    (SpecProblem("agent.toml", 1, "state", "is wrong"),), "t" * 40
                )
            case 2:
                agents[name] = Unreadable("cannot be read")
            case 3:
                agents[name] = self._entry(spec.model_copy(update={"state": stopped}))
            case 4:
                agents[name] = self._entry(spec)  # in place
            case _:
                update = {"restarts": spec.restarts + 1}
                agents[name] = self._entry(spec.model_copy(update=update))

    def _rename(self, agents, name):
        free = sorted(set(NAMES) - agents.keys())
        if free:
            self.world.renamed.add(agents[name].spec.uid)
            agents[self.rng.choice(free)] = agents.pop(name)

    def _burst(self):
        for _ in range(self.rng.randrange(3, 9)):
            self._change()

    def _wipe(self):
        """All entries vanish, and no merge allowed it."""
        if self.world.tip.agents and not self.world.wiped:
            mourned = {o.uid for o in self.world.containers.values()}
            gone = self.core.picture.may_destroy
            valid = (e for e in self.world.tip.agents.values() if isinstance(e, Valid))
            self.world.wiped = frozenset(e.spec.uid for e in valid) & mourned - gone
            if not mourned - self.world.wiped:
                self.before = self.world.tip.agents
                self.world.commit({})
            else:
                self.world.wiped = frozenset()

    def _fault(self):
        what = self.rng.choice(tuple(self.world.faults))
        self.world.faults[what] = self.rng.choice((0.0, 0.3, 1.0))

    def _crash(self):
        running = [n for n, o in self.world.containers.items() if o.phase is Phase.RUNNING]
        if running:
            name = self.rng.choice(sorted(running))
            self.world.dies(name, self.rng.choice((Phase.STOPPED, Phase.BROKEN)))
            self.core.wake()

    async def _restart(self):
        await self._end()
        self._judge()
        if self.rng.random() < 0.2:  # every file of it may be lost
            shutil.rmtree(self.layout.reconciler)
            self.layout.reconciler.mkdir()
        self._begin()

    def _broker(self):
        if self.world.broker.up:
            self.world.broker.fall()
        else:
            self.world.broker.rise()

    def _clock(self):
        self.clock.jump += self.rng.choice((-86400.0, -30.0, 30.0, 86400.0))

    async def _suspend(self):
        uids = sorted(o.uid for o in self.world.containers.values())
        uid = self.rng.choice((None, *uids))
        on = suspending.Suspension("ann", "why not", self.clock.time())
        with contextlib.suppress(OSError):  # it says so, and nothing changed
            await self.core.keeper.suspend(uid, self.rng.choice((on, None)))
        self.core.wake()

    def _now(self):
        for uid in sorted(o.uid for o in self.world.containers.values()):
            self.world.hurried.add(uid)
            self.core.at_once(uid, "ann")
        self.core.wake()

    # -- the end -----------------------------------------------------------------------

    async def _settle(self):
        """All faults are cured: now it must get to where the last commit says."""
        world = self.world
        if world.wiped:
            world.wiped = frozenset()
            world.commit(self.before)
        world.faults.update(dict.fromkeys(world.faults, 0.0))
        world.broker.rise()
        await self.core.keeper.open()
        for key in tuple(self.core.keeper._suspensions.found):
            await self.core.keeper.suspend(None if key == "*" else key, None)
        self.core.wake()
        end = self.clock.monotonic() + SETTLE
        while (left := self._left()) and self.clock.monotonic() < end:
            await asyncio.sleep(10)
            self._judge()
        self._judge()
        if left:
            raise Violation(f"it never gets there: {left}")

    def _left(self):
        """What is not yet as the tip says, in words."""
        plan = self.core.picture.plan
        if plan is None or plan.commit != self.world.tip.commit:
            return "the tip was not planned"
        excused = {b.uid for b in plan.blocked if b.reason in ("Quarantined", "PruneGuard")}
        # What lives last: one that was renamed may have left a stopped one under its old name.
        seen = {
            o.uid: o for o in sorted(self.world.containers.values(), key=lambda o: o.phase in LIVE)
        }
        if "PruneGuard" in {b.reason for b in plan.blocked}:  # whose names are not free
            held = {o.name.removeprefix("h-"): o.uid for o in seen.values()}
            tip = self.world.tip.agents.items()
            excused |= {
                e.spec.uid for n, e in tip if isinstance(e, Valid) and held.get(n) != e.spec.uid
            }
        wanted = {e.spec.uid: e for e in self.world.tip.agents.values() if isinstance(e, Valid)}
        found = []
        for uid, entry in wanted.items():
            phase = seen[uid].phase if uid in seen else Phase.STOPPED
            if entry.spec.state == "stopped" and phase is not Phase.STOPPED:
                found.append(f"{uid} is to be stopped")
            up = phase is Phase.RUNNING and seen[uid].revision == entry.revision
            if entry.spec.state == "running" and not up and uid not in excused:
                found.append(f"{uid} is to run")
        bad = {n for n, e in self.world.tip.agents.items() if not isinstance(e, Valid)}
        if "PruneGuard" not in {b.reason for b in plan.blocked}:
            kept = (o for o in seen.values() if o.name.removeprefix("h-") not in bad)
            found += [f"{o.uid} is to go" for o in kept if o.uid not in wanted]
        return "; ".join(found)
