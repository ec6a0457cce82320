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
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

from support.sim_broker import SimLink
from support.sim_clock import Clock, Tired, VirtualLoop
from support.sim_world import LIVE, TOOLS, SimHive, SimRuntime, Violation, World

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
    recall,
    slices,
)
from hive_reconciler.core import suspensions as suspending
from hive_reconciler.core.files import Owner, Owners
from hive_reconciler.core.planner import Swarm
from hive_reconciler.model.desired import Invalid, Unreadable, Valid
from hive_reconciler.model.memory import Memory
from hive_reconciler.model.plan import Kind
from hive_reconciler.runtime.base import Phase
from hive_wire.parse import SpecProblem
from hive_wire.paths import Layout
from hive_wire.spec import AgentSpec

CLOCKED = (acting, broker, drain, health, keeping, loop, operations, picture, suspending)
STEPS = 12
ACTS = ("hold", "fence", "observe", "stop", "start", "update", "destroy", "write")
CALM, ROUNDS = 30.0, 8  # so many a second, over so long, are no calm loop
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
        stack.enter_context(mock.patch.object(slices, "time", Tired(seed)))
        stack.enter_context(mock.patch.object(loop, "random", rng))
        stack.enter_context(mock.patch.object(acting, "random", rng))
        stack.enter_context(mock.patch.object(files.os, "fsync", return_value=None))
        home = tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)
        root = stack.enter_context(home)
        story = _Story(Layout(Path(root) / "root", Path(root) / "run", "-sim"), rng, clock)
        stack.enter_context(mock.patch.object(planner.Planner, "planning", story.checked()))
        stack.enter_context(mock.patch.object(files.tempfile, "mkstemp", story.mkstemp))
        with asyncio.Runner(loop_factory=lambda: virtual) as runner:
            trace = runner.run(story.play())
    if virtual.unseen:
        raise story.world.violated(f"nobody saw {virtual.unseen[0]!r}")
    return trace


class _Story:
    def __init__(self, layout, rng, clock):
        self.rng = rng
        self.clock = clock
        self.world = World(rng, clock)
        self.layout = layout
        self.serial = 0
        self.killed = asyncio.Event()
        self.crashes = Counter()  # by uid, as the core sees them
        self.judged = (0.0, 0)  # when, and how many rounds there were

    def checked(self):
        """Invariant 7: the same inputs in another order, and planned from scratch, give the same.
        And what failed is left alone until its time has come, what is suspended altogether."""
        planning = planner.Planner.planning

        @functools.wraps(planning)
        def planned(keeper, swarm, now):
            made, memory = (yield from planning(keeper, swarm, now)), swarm.memory
            mixed = self.rng.sample(swarm.sight.all, len(swarm.sight.all))
            agents = dict(reversed(tuple(swarm.desired.agents.items())))
            again = Memory(dict(memory.agents), memory.may_destroy, memory.suspended)
            other = Swarm.of(replace(swarm.desired, agents=agents), mixed, again, swarm.toolchain)
            if slices.at_once(planning(planner.Planner(), other, now)) != made:
                raise self.world.violated("7: the same inputs give another plan")
            for action in made.actions:
                known = memory.agents.get(action.uid)
                if known and known.failure and recall.waits(known.retry_at, now):
                    raise self.world.violated(f"{action.agent} failed and is not left alone")
                if memory.suspension(action.uid) and action.kind is not Kind.ADOPT:
                    raise self.world.violated(f"{action.agent} is suspended and not left alone")
            return made

        return planned

    def mkstemp(self, *args, **options):
        """Every file that is kept begins with this."""
        self.world.step("write")
        if not self.runtime.alive:
            raise OSError(errno.EIO, "this process was killed")
        if self.world.fails("disk"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return _MKSTEMP(*args, **options)

    async def play(self):
        files.make_run(self.layout, _MINE)
        self.layout.reconciler.mkdir(parents=True)
        self.world.commit(
            {name: self._fresh(name) for name in self.rng.sample(NAMES, self.rng.choice((4, 8)))}
        )
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
        self.core.outcomes.crashed = self._crashed
        self.core.gateway.link = SimLink(world, self.core.gateway, None)
        world.broker.link = self.core.broker.link
        parts = (self.core.broker.link, self.core)
        self.running = [asyncio.ensure_future(part.run()) for part in parts]

    def _crashed(self, crash):
        self.crashes[crash.uid] += 1
        if self.crashes[crash.uid] > self.world.deaths[crash.uid]:
            raise self.world.violated(f"{crash.name} is taken for crashed and did not")

    def _kill(self):
        """kill -9: from here on nothing that this life does has an effect."""
        self.runtime.alive = False
        self.core.broker.link.alive = self.core.gateway.link.alive = False
        self.world.broker.link = None
        self.world.killed()
        self.killed.set()

    async def _end(self):
        self._kill()
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    def _judge(self):
        for violation in self.world.broken:
            raise violation
        live = [o.uid for o in self.world.containers.values() if o.phase in LIVE]
        if len(live) != len(set(live)):
            raise Violation("1: two live containers of one agent")
        now, rounds = self.clock.monotonic(), sum(self.core.metrics.rounds.values())
        before, known = self.judged
        if now - before >= CALM and rounds - known > (now - before) * ROUNDS:
            raise Violation(f"{rounds - known} rounds in {now - before:.0f} s")
        if now - before >= CALM or rounds < known:
            self.judged = (now, rounds)

    # -- what happens to it ----------------------------------------------------------

    async def _step(self):
        steps = (
            *[self._change] * 6,
            self._burst,
            self._roll,
            self._revert,
            self._wipe,
            *[self._fault] * 3,
            self._crash,
            self._crash,
            self._restart,
            self._restart,
            self._broker,
            self._bounce,
            self._bounce,
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
                agents[name] = self._restarted(entry)

    def _restarted(self, entry):
        if not isinstance(entry, Valid):
            return entry
        spec = entry.spec
        return self._entry(spec.model_copy(update={"restarts": spec.restarts + 1}))

    def _rename(self, agents, name):
        free = sorted(set(NAMES) - agents.keys())
        if free:
            self.world.renamed.add(agents[name].spec.uid)
            agents[self.rng.choice(free)] = agents.pop(name)

    def _burst(self):
        for _ in range(self.rng.randrange(3, 9)):
            self._change()

    def _roll(self):
        """One commit restarts all, more than may start at once."""
        if self.world.tip.agents:
            agents = {n: self._restarted(e) for n, e in self.world.tip.agents.items()}
            self.world.commit(agents)

    def _revert(self):
        """A commit that says what runs now."""
        world = self.world
        runs = {o.uid: o.revision for o in world.containers.values() if o.phase is Phase.RUNNING}
        agents = {n: self._as_it_runs(e, runs) for n, e in world.tip.agents.items()}
        if agents != world.tip.agents:
            world.commit(agents)

    def _as_it_runs(self, entry, runs):
        if not isinstance(entry, Valid):
            return entry
        return self.world.approved.get((entry.spec.uid, runs.get(entry.spec.uid)), entry)

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
        """Killed at any step of what it does, or while it rests."""
        self.killed.clear()
        at = self.rng.choice((None, *ACTS))
        self.world.accident = (at, self.rng.randrange(3 if at else 60), self._kill)
        self.rng.choice((self._roll, self._change, self.core.wake))()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.rng.choice((0.0, 3.0, 60.0))):
                await self.killed.wait()
        self.world.accident = None
        self._judge()
        await self._end()
        self._judge()
        if self.rng.random() < 0.2:  # every file of it may be lost
            shutil.rmtree(self.layout.reconciler)
            self.layout.reconciler.mkdir()
        if self.rng.random() < 0.3:
            self._revert()
        self._begin()

    def _broker(self):
        if self.world.broker.up:
            self.world.broker.fall()
        else:
            self.world.broker.rise()

    def _bounce(self):
        """The broker is killed and comes back, at any step of what the reconciler does."""
        at = self.rng.choice(("fence", "observe", "stop", "start"))
        self.world.accident = (at, self.rng.randrange(4), self._broker_restarts)
        self.rng.choice((self._roll, self._roll, self._change))()

    def _broker_restarts(self):
        self.world.broker.fall()
        self.world.spawn(self._rises())

    async def _rises(self):
        await asyncio.sleep(self.rng.choice((0.1, 2.0, 70.0)))
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
        world.accident = None
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
            if up and uid in self.world.broker.fenced:
                found.append(f"{uid} gets nothing delivered")
        bad = {n for n, e in self.world.tip.agents.items() if not isinstance(e, Valid)}
        if "PruneGuard" not in {b.reason for b in plan.blocked}:
            # Nobody goes for whom one of those may stand, by its container's name or its own.
            every = self.world.containers.values()
            kept = {o.uid for o in every if o.name.removeprefix("h-") in bad}
            kept |= {uid for uid, name in self.world.named.items() if name in bad}
            found += [f"{uid} is to go" for uid in seen if uid not in wanted.keys() | kept]
        return "; ".join(found)
