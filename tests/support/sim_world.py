"""The world of a simulated reconciler: git, containers and broker, with faults. It outlives it."""

import asyncio
from dataclasses import replace

from hive_reconciler.core.containers import Toolchain, restart_key
from hive_reconciler.git.errors import HistoryRewritten, ReadFailed
from hive_reconciler.model.desired import Desired, Valid
from hive_reconciler.runtime.base import Observed, Phase, RuntimeFailure
from hive_wire.hivetoml import HiveToml
from hive_wire.jsonrpc import BUSY, UNAVAILABLE, RpcError

TOOLS = Toolchain("t1", ("python3",), (), ())
HIVE = HiveToml(schema=1)
FAULTS = ("read", "history", "observe", "wrong", "disk", "start", "stop", "slow")
LIVE = (Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.BROKEN)
AWAY_IS_IDLE = 60.0


class Violation(AssertionError):
    """An invariant was broken."""


class World:
    def __init__(self, rng, clock):
        self.rng = rng
        self.clock = clock
        self.commits = 0
        self.tip = Desired("c0", HIVE, {}, 0)
        self.approved = set()  # (uid, revision) that some commit had
        self.wiped = frozenset()  # uids that the tip removed all at once, without a word
        self.containers = {}
        self.began = {}  # by name, on a clock that nobody sets
        self.turns = {}  # uid → turn that physically runs
        self.ready = set()  # uids whose harness is connected
        self.away_since = {}
        self.renamed = set()  # uids whose former containers are removed beside
        self.good = {}  # uid → the last spec of it that could be used
        self.misread = {}  # uid → since when it is observed wrongly
        self.hurried = set()  # uids that a person wants stopped at once
        self.faults = dict.fromkeys(FAULTS, 0.0)
        self.broker = SimBroker(self)
        self.trace = []
        self.tasks = set()

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
            longest *= 10
        await asyncio.sleep(self.rng.uniform(0, longest))

    def commit(self, agents, allow_prune=0):
        self.commits += 1
        self.tip = Desired(f"c{self.commits}", HIVE, dict(agents), allow_prune)
        for entry in agents.values():
            if isinstance(entry, Valid):
                self.approved.add((entry.spec.uid, entry.revision))
        self.say("commit", self.tip.commit, *sorted(agents))

    # -- containers ------------------------------------------------------------------

    def seen(self):
        now = self.clock.monotonic()
        since = (self.began.get(name, now) for name in self.containers)
        pairs = zip(self.containers.values(), since, strict=True)
        return tuple(replace(o, age=now - at) for o, at in pairs)

    def end_turn(self, uid):
        turn = self.turns.pop(uid, None)
        if turn is not None and uid in self.ready and self.broker.up:
            self.broker.leases.pop(uid, None)
            self.broker.event(uid, "turn.ended")

    def dies(self, name, phase, status=1):
        seen = self.containers[name]
        self.say("dies", name, phase.value)
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
            known = self.broker.up and uid in self.broker.registered
            if known and uid not in self.ready:
                self.ready.add(uid)
                self.broker.hello(uid, self.turns.get(uid))
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


class SimRuntime:
    """The runtime of one life of the reconciler; dead with it."""

    name = "sim"

    def __init__(self, world):
        self.world = world
        self.alive = True
        self.reads = []  # (when, Desired) that this life was given
        self._changed = lambda _name: None

    def _check(self):
        if not self.alive:
            raise RuntimeFailure("Dead", "this process was killed")

    async def observe(self):
        self._check()
        seen = self.world.seen()  # late: the world goes on meanwhile
        await self.world.pause(0.2)
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
        self._check()
        world = self.world
        if (container.uid, container.revision) not in world.approved:
            raise Violation(f"3: {container.name} runs what no commit had")
        await world.pause(0.5)
        self._check()
        for other in world.containers.values():
            if other.uid == container.uid and other.phase in LIVE and other.name != container.name:
                raise Violation(f"1: {container.uid} would run twice")
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
        self._check()
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
        self._check()
        await self.world.pause(0.2)
        self._check()
        old = self.world.containers.get(container.name)
        if old is None or old.phase is not Phase.RUNNING:
            raise RuntimeFailure("Failed", "it does not run")
        if (container.uid, container.revision) not in self.world.approved:
            raise Violation(f"3: {container.name} takes over what no commit had")
        self.world.say("update", container.name, container.revision)
        after = replace(old, revision=container.revision, restart_key=container.restart_key)
        self.world.containers[container.name] = after

    async def stop(self, name, grace):
        self._check()
        world, seen = self.world, self.world.containers[name]
        if seen.phase is Phase.RUNNING:
            if seen.uid in world.turns and seen.uid not in world.hurried:
                raise Violation(f"5: {name} is stopped in its turn {world.turns[seen.uid]}")
            if not any(self._wants_down(desired, seen) for desired in self._recent()):
                raise Violation(f"4: {name} runs as it should and is stopped")
        world.say("stop", name)
        if world.fails("stop"):
            raise RuntimeFailure("Failed", "it does not end")
        if seen.phase is not Phase.STOPPED:
            world.dies(name, Phase.STOPPING, None)
        if world.rng.random() < 0.5:  # it obeys; else it needs a KILL, and who is killed sends none
            world.spawn(self._end(name, world.containers[name]))
        await world.pause(2)
        self._check()
        await self._end(name, world.containers[name])

    async def _end(self, name, stopping):
        if self.world.containers.get(name) is stopping:
            self.world.dies(name, Phase.STOPPED, None)
            self._changed(name)

    async def destroy(self, name):
        self._check()
        world, seen = self.world, self.world.containers[name]
        if seen.phase in LIVE:
            raise Violation(f"1: {name} is removed while it lives")
        if not any(self._gone(desired, seen) for desired in self._recent()):
            raise Violation(f"4: {name} is wanted and removed")
        if seen.uid in world.wiped - world.renamed:
            raise Violation(f"4: {name} is removed with all others, and nobody allowed it")
        world.say("destroy", name)
        del world.containers[name]

    def adopt(self, on_change):
        self._changed = on_change

    async def close(self):
        self._changed = lambda _name: None

    def given(self, desired):
        self.reads.append((self.world.clock.monotonic(), desired))
        valid = (e for e in desired.agents.values() if isinstance(e, Valid))
        self.world.good.update({e.spec.uid: e for e in valid})

    def _recent(self):
        now = self.world.clock.monotonic()
        return [self.reads[-1][1], *(d for at, d in self.reads if now - at < 200)]

    def _entry(self, desired, uid):
        entries = (e for e in desired.agents.values() if isinstance(e, Valid))
        return next((e for e in entries if e.spec.uid == uid), None)

    def _gone(self, desired, seen):
        """No entry, good or bad, stands for it; or it stands for another container."""
        entry = self._entry(desired, seen.uid)
        named = desired.agents.get(seen.name.removeprefix("h-"))
        if entry is not None:
            return named is not entry
        return named is None or isinstance(named, Valid)

    def _wants_down(self, desired, seen):
        if self._gone(desired, seen):
            return True
        entry = self._entry(desired, seen.uid) or self.world.good.get(seen.uid)
        if entry is None:
            return False
        key = restart_key(seen.name.removeprefix("h-"), entry.spec, TOOLS)
        return entry.spec.state == "stopped" or seen.restart_key != key


class SimHive:
    """Git, as one life of the reconciler reads it."""

    def __init__(self, world, runtime):
        self._world = world
        self._runtime = runtime

    async def tip(self):
        return self._world.tip.commit

    async def read(self):
        await self._world.pause(0.1)
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


class SimBroker:
    """What the broker knows and keeps. Holds are lost with its process, fences are not."""

    def __init__(self, world):
        self._world = world
        self.up = True
        self.moved = asyncio.Event()  # it came up or went down
        self.registered = {}
        self.holds = {}  # uid → (token, when it expires)
        self.fenced = set()
        self.leases = {}
        self.heard = set()  # uids that said hello since it started
        self.link = None

    def rise(self):
        self.up = True
        self.moved.set()

    def fall(self):
        self.up = False
        self.moved.set()
        self.holds.clear()
        self.heard.clear()
        for uid in tuple(self._world.ready):
            self._world.lose(uid)

    def event(self, uid, kind):
        if self.up and self.link is not None:
            self.link.tell({"events": [{"kind": kind, "agent": uid}]})

    def hello(self, uid, turn):
        self.heard.add(uid)
        self.fenced.discard(uid)
        self.leases.pop(uid, None)
        if turn is not None:
            self.leases[uid] = turn
        self.event(uid, "ready")

    def may_deliver(self, uid):
        _, until = self.holds.get(uid, ("", 0.0))
        held = until > self._world.clock.monotonic()
        return uid in self._world.ready and uid not in self.fenced and not held

    def answer(self, method, params):
        uid, now = params.get("uid"), self._world.clock.monotonic()
        if method == "registry.set":
            self._register({a["uid"]: a for a in params["agents"]})
        elif method == "registry.change":
            told = {a["uid"]: a for a in params["agents"]}
            kept = {u: a for u, a in self.registered.items() if u not in params["gone"]}
            self._register(kept | told)
        elif method == "hold":
            return self._hold(uid, params, now)
        elif method == "release" and self.holds.get(uid, ("",))[0] == params["token"]:
            del self.holds[uid]
        elif method == "fence":
            token, until = self.holds.get(uid, ("", 0.0))
            if token != params["token"] or until <= now or self._busy(uid, now):
                raise RpcError(BUSY, "no live hold, or a turn runs")
            self.fenced.add(uid)
        elif method == "unfence":
            self.fenced.discard(uid)
        elif method == "fences":
            return {"uids": sorted(self.fenced)}
        elif method == "interrupt":
            self._world.spawn(self._interrupted(uid))
        elif method == "agents":
            uids = params.get("uids", self.registered)
            known = (self.registered[uid] for uid in uids if uid in self.registered)
            return {"agents": [self._status(a) for a in known]}
        return {}

    def _register(self, agents):
        self.registered = agents
        for gone in self._world.ready - agents.keys():
            self._world.lose(gone)

    def _hold(self, uid, params, now):
        if uid not in self.registered:
            return {"running": None, "known": False}
        token, until = self.holds.get(uid, ("", 0.0))
        if until > now and token != params["token"]:
            raise RpcError(BUSY, "held by another")
        self.holds[uid] = (params["token"], now + params["ttl"])
        return {"running": self.leases.get(uid), "known": uid in self.heard}

    def _busy(self, uid, now):
        since = self._world.away_since.get(uid, 0.0)
        if uid not in self._world.ready and now - since >= AWAY_IS_IDLE:
            return False
        return uid in self.leases or uid not in self.heard

    async def _interrupted(self, uid):
        await self._world.pause(3)
        self._world.end_turn(uid)

    def _status(self, agent):
        uid, wall = agent["uid"], self._world.clock.time()
        ready = uid in self._world.ready
        away = self._world.clock.monotonic() - self._world.away_since.get(uid, 0.0)
        said = uid in self.heard or uid in self._world.away_since
        return {
            "uid": uid,
            "name": agent["name"],
            "ready": ready,
            "boot": "b" if ready else None,
            "state": "idle" if ready else "offline",
            "since": wall,
            "detail": "",
            "until": None,
            "turn": self.leases.get(uid),
            "queued": 0,
            "dead": 0,
            "held": uid in self.holds,
            "fenced": uid in self.fenced,
            "paused": False,
            "last_event": 0,
            "last_seen": wall if ready else wall - away if said else None,
        }


class SimLink:
    """The connection of one life of the reconciler to the broker."""

    def __init__(self, world, client, events):
        self._world = world
        self._client = client
        self._events = events
        self.is_up = False
        self.alive = True

    async def run(self):
        broker = self._world.broker
        while self.alive:
            if broker.up and not self.is_up:
                self.is_up = True
                try:
                    await self._client._greet(self)
                except (RpcError, TimeoutError):
                    self.is_up = False
                    await asyncio.sleep(0.4)
                    continue
            if not broker.up and self.is_up:
                self.is_up = False
                self._client._down()
            await broker.moved.wait()
            await asyncio.sleep(self._world.rng.uniform(0, 0.4))
            broker.moved.clear()

    def tell(self, params):
        if self.is_up and self.alive and self._events is not None:
            self._events(self, params)

    async def request(self, method, params=None, *, timeout=30.0):
        await self._world.pause(0.05)
        if not (self.alive and self.is_up and self._world.broker.up):
            raise RpcError(UNAVAILABLE, "the broker is away")
        lost = self._world.faults["slow"] and self._world.rng.random() < 0.03
        if lost and self._world.rng.random() < 0.5:
            raise TimeoutError
        answer = self._world.broker.answer(method, params or {})
        if lost:  # done, and nobody hears of it
            raise TimeoutError
        return answer
