"""The broker of a simulated reconciler, and the line to it, with faults."""

import asyncio

from hive_reconciler.runtime.base import Phase
from hive_wire.rpc_errors import BUSY, UNAVAILABLE, RpcError

AWAY_IS_IDLE = 60.0  # seconds


class SimBroker:
    """What the broker knows and keeps. Holds are lost with its process, fences are not."""

    def __init__(self, world):
        self._world = world
        self.up = True
        self.moved = asyncio.Event()  # it came up or went down
        self.there = asyncio.Event()
        self.there.set()
        self.registered = {}
        self.holds = {}  # uid → (token, when it expires)
        self.fenced = {}  # uid → the boot that it is to end
        self.leases = {}
        self.heard = set()  # uids that said hello since it started
        self.link = None

    def rise(self):
        self.up = True
        self.there.set()
        self.moved.set()

    def fall(self):
        self.up = False
        self.there.clear()
        self.moved.set()
        self.holds.clear()
        self.heard.clear()
        for uid in tuple(self._world.ready):
            self._world.lose(uid)

    def event(self, uid, kind):
        if self.up and self.link is not None:
            self.link.tell({"events": [{"kind": kind, "agent": uid}]})

    def hello(self, uid, turn, boot):
        self.heard.add(uid)
        if self.fenced.get(uid, boot) != boot:
            del self.fenced[uid]
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
            self.fenced[uid] = self._boot(uid)
        elif method == "unfence":
            self.fenced.pop(uid, None)
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

    def _boot(self, uid):
        live = (
            o
            for o in self._world.containers.values()
            if o.uid == uid and o.phase is not Phase.STOPPED
        )
        return next((o.started for o in live), None)

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
        world = self._world
        await world.pause(0.05)
        world.step(method)
        if not (self.alive and self.is_up and world.broker.up):
            raise RpcError(UNAVAILABLE, "the broker is away")
        hangs = world.fails("hang")  # so long that holds expire
        lost = hangs or (world.faults["slow"] and world.rng.random() < 0.03)
        if lost and world.rng.random() < 0.5:
            await asyncio.sleep(timeout * hangs)
            raise TimeoutError
        answer = world.broker.answer(method, params or {})
        world.step(method)
        if lost:  # done, and nobody hears of it
            await asyncio.sleep(timeout * hangs)
            raise TimeoutError
        return answer
