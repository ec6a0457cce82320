"""The world of a simulated reconciler: git, containers and broker, with faults. It outlives it."""

import asyncio
from collections import Counter
from dataclasses import fields, replace

from support.sim_broker import SimBroker

from hive_reconciler.core.containers import Toolchain, restart_key
from hive_reconciler.git.errors import HistoryRewritten, ReadFailed
from hive_reconciler.model.desired import Desired, Valid
from hive_reconciler.runtime.base import Observed, Phase, RuntimeFailure
from hive_wire.hivetoml import HiveToml

TOOLS = Toolchain("t1", ("python3",), (), ())
HIVE = HiveToml(schema=1)
FAULTS = ("read", "history", "observe", "late", "wrong", "disk", "start", "stop", "slow", "hang")
LIVE = (Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.BROKEN)
ROUND = {"": 1.0, "slow": 10.0, "hang": 15.0}  # seconds from what is read to what it calls off


class Violation(AssertionError):
    """An invariant was broken."""


class World:
    def __init__(self, rng, clock):
        self.rng = rng
        self.clock = clock
        self.commits = 0
        self.tip = Desired("c0", HIVE, {}, 0)
        self.approved = {}  # what some commit had, by uid and revision
        self.wiped = frozenset()  # uids that the tip removed all at once, without a word
        self.containers = {}
        self.began = {}  # by name, on a clock that nobody sets
        self.deaths = Counter()  # by uid, of its own
        self.turns = {}  # uid → turn that physically runs
        self.ready = set()  # uids whose harness is connected
        self.away_since = {}
        self.renamed = set()  # uids whose former containers are removed beside
        self.good = {}  # uid → the last spec of it that could be used
        self.former = {}  # uid → (since when it is not, the one before)
        self.lapsed = {}  # the same, of whom a life was killed before it can have kept the last
        self.named = {}  # uid → the name it had then
        self.misread = {}  # uid → since when it is observed wrongly
        self.hurried = set()  # uids that a person wants stopped at once
        self.faults = dict.fromkeys(FAULTS, 0.0)
        self.broker = SimBroker(self)
        self.trace = []
        self.tasks = set()
        self.broken = []  # invariants; whoever catches everything does not hide them
        self.accident = None  # (at which step, after how many more, what happens)

    def violated(self, words):
        """To be raised."""
        self.broken.append(Violation(words))
        return self.broken[-1]

    def step(self, what):
        """The reconciler is about to do something outside itself, or has just done it."""
        if self.accident is None:
            return
        at, left, happen = self.accident
        if at in (None, what):
            self.accident = (None, left - 1, happen) if left else None
            if not left:
                happen()

    def say(self, *words):
        self.trace.append((round(self.clock.monotonic(), 3), *words))

    def spawn(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def fails(self, what):
        return self.rng.random() < self.faults[what]

    async def pause(self, longest):
        if self.faults["slow"] and self.rng.random() < 0.3:
            longest *= self.rng.choice((10, 40))
        await asyncio.sleep(self.rng.uniform(0, longest))

    def commit(self, agents, allow_prune=0):
        self.commits += 1
        self.tip = Desired(f"c{self.commits}", HIVE, dict(agents), allow_prune)
        for entry in agents.values():
            if isinstance(entry, Valid):
                self.approved[entry.spec.uid, entry.revision] = entry
        self.say("commit", self.tip.commit, *sorted(agents))

    @property
    def longest_round(self):
        return max(seconds for fault, seconds in ROUND.items() if self.faults.get(fault, 1.0))

    def usable(self, name, entry):
        """The reconciler read it."""
        uid, before = entry.spec.uid, self.good.get(entry.spec.uid)
        if before is not entry:
            self.former[uid] = (self.clock.monotonic(), before)
        self.good[uid], self.named[uid] = entry, name
        self.lapsed.pop(uid, None)

    def killed(self):
        """The reconciler was, maybe before it kept what it had just read."""
        self.hurried.clear()  # that people asked dies with it
        since = self.clock.monotonic() - self.longest_round
        self.lapsed |= {uid: before for uid, (at, before) in self.former.items() if at >= since}

    # -- containers ------------------------------------------------------------------

    def seen(self):
        now = self.clock.monotonic()
        return tuple(_aged(o, now - self.began.get(n, now)) for n, o in self.containers.items())

    def end_turn(self, uid):
        turn = self.turns.pop(uid, None)
        if turn is not None and uid in self.ready and self.broker.up:
            self.broker.leases.pop(uid, None)
            self.broker.event(uid, "turn.ended")

    def dies(self, name, phase, status=1):
        seen = self.containers[name]
        self.say("dies", name, phase.value)
        self.deaths[seen.uid] += status is not None
        self.turns.pop(seen.uid, None)
        self.lose(seen.uid)
        left = 1 if phase is Phase.BROKEN else 0
        self.containers[name] = replace(seen, phase=phase, exit_status=status, tasks=left)

    def lose(self, uid):
        if uid in self.ready:
            self.ready.discard(uid)
            self.away_since[uid] = self.clock.monotonic()
            self.broker.event(uid, "offline")

    async def harness(self, name, boot):
        """Says hello, then works on turns as the broker delivers them."""
        await self.pause(6)
        uid = boot.uid
        while self.containers.get(name) is boot or self._updated(name, boot):
            if not self.broker.up:
                await self.broker.there.wait()
                await self.pause(1)
                continue
            known = self.broker.up and uid in self.broker.registered
            if known and uid not in self.ready:
                self.ready.add(uid)
                self.broker.hello(uid, self.turns.get(uid), boot.started)
            free = known and uid not in self.turns and self.broker.may_deliver(uid)
            if free and self.rng.random() < 0.5:
                self.turns[uid] = self.broker.leases[uid] = f"{self.rng.randrange(10**6)}.1"
                self.broker.event(uid, "turn.started")
            await asyncio.sleep(self.rng.choice((0.5, 2.0, 20.0)))
            if uid in self.turns and self._updated(name, boot) and self.rng.random() < 0.5:
                self.end_turn(uid)

    def _updated(self, name, boot):
        seen = self.containers.get(name)
        return seen is not None and (seen.started, seen.phase) == (boot.started, Phase.RUNNING)


FIELDS = [getattr(Observed, field.name) for field in fields(Observed)]
AGE = Observed.age


def _aged(seen, age):
    """As dataclasses.replace does, in less time."""
    made = object.__new__(Observed)
    for field in FIELDS:
        field.__set__(made, field.__get__(seen))
    AGE.__set__(made, age)
    return made


class SimRuntime:
    """The runtime of one life of the reconciler; dead with it."""

    name = "sim"

    def __init__(self, world):
        self.world = world
        self.alive = True
        self.reads = []  # (when, Desired) that this life was given
        self._changed = lambda _name: None

    def _check(self, what):
        self.world.step(what)
        if not self.alive:
            raise RuntimeFailure("Dead", "this process was killed")

    async def observe(self):
        self._check("observe")
        seen = self.world.seen()  # late: the world goes on meanwhile
        await self.world.pause(40.0 if self.world.fails("late") else 0.2)
        if self.world.fails("observe"):
            raise RuntimeFailure("ObserveFailed", "cgroups are not readable")
        return tuple(self._misread(one) for one in seen)

    def _misread(self, seen):
        """For some seconds its record cannot be read; then for a while it can."""
        world, now = self.world, self.world.clock.monotonic()
        if seen.phase is not Phase.RUNNING or not world.fails("wrong"):
            return seen
        if now - world.misread.get(seen.uid, -200.0) >= 200:
            world.misread[seen.uid] = now
        if now - world.misread[seen.uid] > 20:
            return seen
        uid = world.rng.choice((seen.uid, ""))
        return replace(seen, uid=uid, revision=None, restart_key=None, age=None)

    async def start(self, container):
        world = self.world
        self._check("start")
        if (container.uid, container.revision) not in world.approved:
            raise world.violated(f"3: {container.name} runs what no commit had")
        if not self._is_applied(container):
            raise world.violated(f"3: {container.name} runs what is applied no longer")
        await world.pause(0.5)
        self._check("start")
        for other in world.containers.values():
            if other.uid == container.uid and other.phase in LIVE and other.name != container.name:
                raise world.violated(f"1: {container.uid} would run twice")
        old = world.containers.get(container.name)
        if old is not None and old.phase in LIVE:
            if old.phase is Phase.RUNNING and old.revision == container.revision:
                return
            raise RuntimeFailure("Running", f"{container.name} lives already")
        if world.fails("start"):
            raise RuntimeFailure("Failed", "no cgroup")
        made = Observed(
            container.name,
            container.uid,
            Phase.STARTING,
            container.revision,
            container.restart_key,
            world.clock.time(),
            None,
            1,
            2,
        )
        world.say("start", container.name, container.revision)
        world.began[container.name] = world.clock.monotonic()
        world.containers[container.name] = made
        world.spawn(self._come_up(container.name, made))
        await world.pause(3)
        self._check("start")
        if world.containers[container.name].phase is not Phase.RUNNING:
            raise RuntimeFailure("Failed", "its PID 1 did not come up")

    async def _come_up(self, name, made):
        if self.world.fails("start"):
            self.world.dies(name, self.world.rng.choice((Phase.BROKEN, Phase.STOPPED)))
        else:
            running = replace(made, phase=Phase.RUNNING)
            self.world.containers[name] = running
            self.world.spawn(self.world.harness(name, running))
        self._changed(name)

    async def update(self, container):
        self._check("update")
        await self.world.pause(0.2)
        self._check("update")
        old = self.world.containers.get(container.name)
        if old is None or old.phase is not Phase.RUNNING:
            raise RuntimeFailure("Failed", "it does not run")
        if (container.uid, container.revision) not in self.world.approved:
            raise self.world.violated(f"3: {container.name} takes over what no commit had")
        self.world.say("update", container.name, container.revision)
        after = replace(old, revision=container.revision, restart_key=container.restart_key)
        self.world.containers[container.name] = after
        self.world.step("update")

    async def stop(self, name, grace):
        self._check("stop")
        world, seen = self.world, self.world.containers[name]
        if seen.phase is Phase.RUNNING:
            if seen.uid in world.turns and seen.uid not in world.hurried:
                raise world.violated(f"5: {name} is stopped in its turn {world.turns[seen.uid]}")
            if not any(self._wants_down(desired, seen) for desired in self._recent()):
                raise world.violated(f"4: {name} runs as it should and is stopped")
        world.say("stop", name)
        if world.fails("stop"):
            raise RuntimeFailure("Failed", "it does not end")
        if seen.phase is not Phase.STOPPED:
            world.dies(name, Phase.STOPPING, None)
        if world.rng.random() < 0.5:  # it obeys; else it needs a KILL, and who is killed sends none
            world.spawn(self._end(name, world.containers[name]))
        stopping = world.containers[name]
        await world.pause(2)
        self._check("stop")
        now = world.containers.get(name)
        if now is not None and now.phase in LIVE and now.uid != stopping.uid:
            raise world.violated(f"1: the stop of {name} meets the next one of that name")
        await self._end(name, now)

    async def _end(self, name, stopping):
        if stopping is not None and self.world.containers.get(name) is stopping:
            self.world.hurried.discard(stopping.uid)
            self.world.dies(name, Phase.STOPPED, None)
            self._changed(name)

    async def destroy(self, name):
        self._check("destroy")
        world, seen = self.world, self.world.containers[name]
        if seen.phase in LIVE:
            raise world.violated(f"1: {name} is removed while it lives")
        if not any(self._gone(desired, seen) for desired in self._recent()):
            raise world.violated(f"4: {name} is wanted and removed")
        if seen.uid in world.wiped - world.renamed:
            raise world.violated(f"4: {name} is removed with all others, and nobody allowed it")
        world.say("destroy", name)
        del world.containers[name]
        world.step("destroy")

    def adopt(self, on_change):
        self._changed = on_change

    async def close(self):
        self._changed = lambda _name: None

    def given(self, desired):
        self.reads.append((self.world.clock.monotonic(), desired))
        for name, entry in desired.agents.items():
            if isinstance(entry, Valid):
                self.world.usable(name, entry)

    def _recent(self):
        """What may be acted on: the last that was read, and what a round has still to follow."""
        since = self.world.clock.monotonic() - self.world.longest_round
        return [self.reads[-1][1], *(desired for at, desired in self.reads if at > since)]

    def _is_applied(self, container):
        entries = [self._entry(desired, container.uid) for desired in self._recent()]
        entries += [self.world.good.get(container.uid), self.world.lapsed.get(container.uid)]
        return container.revision in {entry.revision for entry in entries if entry is not None}

    def _entry(self, desired, uid):
        entries = (e for e in desired.agents.values() if isinstance(e, Valid))
        return next((e for e in entries if e.spec.uid == uid), None)

    def _gone(self, desired, seen):
        """No entry, good or bad, stands for it; or it stands for another container."""
        entry = self._entry(desired, seen.uid)
        named = desired.agents.get(seen.name.removeprefix("h-"))
        if entry is not None:
            return named is not entry
        own = desired.agents.get(self.world.named.get(seen.uid), named)
        if own is not None and not isinstance(own, Valid):
            return own is not named  # what stands for it is bad, and it left the name before
        return named is None or isinstance(named, Valid)

    def _wants_down(self, desired, seen):
        if self._gone(desired, seen):
            return True
        entry = self._entry(desired, seen.uid)
        last = (self.world.good.get(seen.uid), self.world.lapsed.get(seen.uid))
        wanted = (entry,) if entry is not None else tuple(filter(None, last))
        return any(self._is_other(one.spec, seen) for one in wanted)

    def _is_other(self, spec, seen):
        key = restart_key(seen.name.removeprefix("h-"), spec, TOOLS)
        return spec.state == "stopped" or seen.restart_key != key


class SimHive:
    """Git, as one life of the reconciler reads it."""

    def __init__(self, world, runtime):
        self._world = world
        self._runtime = runtime

    async def tip(self):
        return self._world.tip.commit

    async def read(self):
        await self._world.pause(0.1)
        self._world.step("read")
        if self._world.fails("read"):
            raise ReadFailed("an object cannot be read")
        if self._world.faults["history"]:
            raise HistoryRewritten("f" * 40, self._world.tip.commit)
        self._runtime.given(self._world.tip)
        return self._world.tip

    async def watch(self, on_hint):
        pass

    async def sweep(self):
        return ()

    async def proposals(self, _state, _limit):
        return ()
