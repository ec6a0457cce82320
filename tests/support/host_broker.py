"""A broker as the reconciler sees it: holds, fences, statuses, system messages, exports."""

import asyncio
import base64
import time

from hive_wire.jsonrpc import Peer
from hive_wire.protocol import Registry, RegistryChange
from hive_wire.registry import Parts, changed
from hive_wire.rpc_errors import BUSY, NOT_FOUND, RpcError
from hive_wire.sockets import listen


class HostBroker:
    def __init__(self, layout):
        self.layout = layout
        self.registry: Registry | None = None
        self._parts = Parts()
        self._indexed: tuple[Registry | None, set[str]] = (None, set())
        self.running: dict[str, str] = {}  # uid → turn
        self.unknown: set[str] = set()  # uids whose harness is away
        self.ready: set[str] = set()
        self.last_seen: dict[str, float] = {}
        self.holds: dict[str, str] = {}
        self.fenced: set[str] = set()
        self.paused: dict[str | None, tuple[str, str]] = {}  # None: all
        self.log: list[tuple[str, str]] = []
        self.system: dict[str, dict] = {}
        self.packs: dict[str, tuple[str, bytes]] = {}  # commit → (oid, pack)
        self.roomless: list[str] = []  # directories that lacked when an agent was announced
        self._peers: set[Peer] = set()
        self._server = None

    async def start(self):
        handlers = {
            name.removeprefix("on_").replace("__", "."): getattr(self, name)
            for name in dir(self)
            if name.startswith("on_")
        }

        def make():
            peer = Peer(handlers, on_close=self._peers.discard)
            self._peers.add(peer)
            return peer

        self._server = await listen(self.layout.broker_sock, make)

    async def stop(self):
        self._server.close()
        for peer in tuple(self._peers):
            peer.close()
        self.layout.broker_sock.unlink(missing_ok=True)

    def event(self, uid, kind, **data):
        row = {"id": 1, "agent": uid, "name": "", "seq": 1, "turn": None, "kind": kind}
        for peer in tuple(self._peers):
            peer.notify("events", {"events": [{**row, "data": data, "at": time.time()}]})

    def begin(self, uid, turn="1.1"):
        self.running[uid] = turn
        self.event(uid, "turn.started", turn=turn)

    def end(self, uid):
        turn = self.running.pop(uid)
        self.event(uid, "turn.ended", turn=turn)

    def hello(self, uid):
        self.ready.add(uid)
        self.unknown.discard(uid)
        self.fenced.discard(uid)
        self.last_seen[uid] = time.time()
        self.event(uid, "ready", boot="b")

    def offline(self, uid):
        self.ready.discard(uid)
        self.event(uid, "offline")

    def sent(self, kind):
        return [m for m in self.system.values() if m["kind"] == kind]

    # -- methods -------------------------------------------------------------------

    def on_registry__set(self, _peer, params):
        part = Registry.model_validate(params)
        whole = self._parts.add(part)
        self.registry = self.registry if whole is None else whole
        return self._rooms(part.agents)

    def on_registry__change(self, _peer, params):
        change = RegistryChange.model_validate(params)
        self.registry = changed(self.registry.agents, change)
        return self._rooms(change.agents)

    def _rooms(self, agents):
        rooms = (self.layout.agent_run(agent.uid) for agent in agents)
        self.roomless += [str(room) for room in rooms if not (room / "model").is_dir()]
        return {}

    def on_subscribe(self, _peer, params):
        return {"cursor": 0}

    def on_agents(self, _peer, params):
        known = self.registry.agents if self.registry is not None else ()
        asked = params.get("uids")
        uids = {a.uid for a in known} if asked is None else set(asked)
        return {"agents": [self._status(a) for a in known if a.uid in uids]}

    def on_hold(self, _peer, params):
        uid, token = params["uid"], params["token"]
        if self.registry is not self._indexed[0]:
            self._indexed = (self.registry, {a.uid for a in self.registry.agents})
        if uid not in self._indexed[1]:
            raise RpcError(NOT_FOUND, "no such agent")
        if self.holds.get(uid, token) != token:
            raise RpcError(BUSY, "held by another")
        self.holds[uid] = token
        self.log.append(("hold", uid))
        return {"running": self.running.get(uid), "known": uid not in self.unknown}

    def on_release(self, _peer, params):
        self.holds.pop(params["uid"], None)
        self.log.append(("release", params["uid"]))
        return {}

    def on_fence(self, _peer, params):
        uid = params["uid"]
        if self.holds.get(uid) != params["token"] or uid in self.running:
            raise RpcError(BUSY, "no live hold, or a turn runs")
        self.fenced.add(uid)
        self.log.append(("fence", uid))
        return {}

    def on_unfence(self, _peer, params):
        self.fenced.discard(params["uid"])
        self.log.append(("unfence", params["uid"]))
        return {}

    def on_fences(self, _peer, _params):
        return {"uids": sorted(self.fenced)}

    def on_interrupt(self, _peer, params):
        self.log.append(("interrupt", params["uid"]))
        asyncio.get_running_loop().call_soon(self.end, params["uid"])
        return {}

    def on_pause(self, _peer, params):
        self.paused[params["uid"]] = (params["by"], params["reason"])
        return {}

    def on_unpause(self, _peer, params):
        self.paused.pop(params["uid"], None)
        return {}

    def on_system(self, _peer, params):
        self.system.setdefault(params["key"], params)
        return {"id": len(self.system)}

    async def on_export(self, peer, params):
        if params["commit"] not in self.packs:
            raise RpcError(NOT_FOUND, f"no commit {params['commit']} in the clone")
        oid, pack = self.packs[params["commit"]]
        for at in range(0, len(pack), 1000):
            data = base64.b64encode(pack[at : at + 1000]).decode()
            peer.notify("chunk", {"stream": params["stream"], "data": data})
        return {"oid": oid, "bytes": len(pack)}

    def _status(self, agent):
        ready = agent.uid in self.ready
        return {
            "uid": agent.uid,
            "name": agent.name,
            "ready": ready,
            "boot": "b" if ready else None,
            "state": "idle" if ready else "offline",
            "since": time.time(),
            "detail": "",
            "until": None,
            "turn": self.running.get(agent.uid),
            "queued": 0,
            "dead": 0,
            "held": agent.uid in self.holds,
            "fenced": agent.uid in self.fenced,
            "paused": agent.uid in self.paused or None in self.paused,
            "last_event": 0,
            "last_seen": self.last_seen.get(agent.uid),
        }
