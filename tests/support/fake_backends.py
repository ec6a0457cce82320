"""A reconciler and a broker as the dashboard sees them: real sockets, made-up answers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

from hive_wire.jsonrpc import CONFLICT, NOT_FOUND, REFUSED, Handlers, Params, Peer, RpcError, listen
from hive_wire.pages import page
from hive_wire.paths import Layout

Json = dict[str, Any]
UIDS = {"hm1nd": "aaaaaaaaaaaa", "scout": "bbbbbbbbbbbb", "mallory": "cccccccccccc"}


class FakeServer:
    """Serves `handlers` at a path; can go away and come back; notifies who subscribed."""

    def __init__(self, path: Any, handlers: Handlers) -> None:
        self._path = path
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self.peers: set[Peer] = set()
        self.calls: list[tuple[str, Params]] = []

    async def start(self) -> None:
        counted = {name: self._counted(name, handler) for name, handler in self._handlers.items()}

        def make() -> Peer:
            peer = Peer(counted, on_close=self.peers.discard)
            self.peers.add(peer)
            return peer

        self._server = await listen(self._path, make)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        for peer in list(self.peers):
            peer.close()

    async def __aenter__(self) -> FakeServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def tell(self, method: str, params: Params) -> None:
        for peer in self.peers:
            peer.notify(method, params)

    def called(self, method: str) -> list[Params]:
        return [params for name, params in self.calls if name == method]

    def _counted(self, name: str, handler: Callable[[Peer, Params], Any]) -> Any:
        def handle(peer: Peer, params: Params) -> Any:
            self.calls.append((name, params))
            return handler(peer, params)

        return handle


class FakeHost(FakeServer):
    """host.sock. `proposals` maps n to {row, diff}; `approve` merges or answers `conflict`."""

    def __init__(self, layout: Layout) -> None:
        self.agents: list[Json] = [
            host_agent("hm1nd", role="manager", description="leads the swarm"),
            host_agent("scout", description="reads the news"),
        ]
        self.proposals: dict[int, Json] = {}
        self.refuse: RpcError | None = None  # what the next approve answers
        self.retired: list[Json] = []
        self.lines: list[str] = []
        self.plan: Json = {
            "commit": "77d0e4b" + "0" * 33,
            "changes": 0,
            "actions": [],
            "blocked": [],
        }
        super().__init__(
            layout.host_sock,
            {
                "status": lambda _p, q: self._status(q),
                "proposals": lambda _p, q: self._proposals(q),
                "proposal": lambda _p, q: self._proposal(q["n"]),
                "proposal_part": lambda _p, q: self._part(q["n"], q["part"], q["after"]),
                "approve": lambda _p, q: self._approve(q),
                "deny": lambda _p, q: self._end(q["n"], "denied", q["reason"], q["on_behalf"]),
                "spawn": lambda _p, q: self._spawn(q),
                "power": lambda _p, q: {
                    "proposal": 90,
                    "state": "merged",
                    "message": f"{q['action']} {q['agent']}: takes effect now",
                },
                "withdraw": lambda _p, q: self._end(q["n"], "withdrawn", None, q["on_behalf"]),
                "revert": lambda _p, q: self._propose("revert", f"revert {q['what']}"),
                "retire": lambda _p, q: self._propose("retire", f"retire {q['agent']}"),
                "revive": lambda _p, q: self._propose("revert", f"revive {q['agent']}"),
                "purge": lambda _p, q: self._purge(q),
                "allow": lambda _p, q: self._propose("apply", f"allow {q['rule']}"),
                "retired": lambda _p, q: self._retired(q),
                "logs": lambda _p, _q: {"lines": self.lines},
                "plan": lambda _p, _q: self.plan,
                "subscribe": lambda _p, _q: {},
            },
        )

    def add(self, n: int, **more: Any) -> None:
        self.proposals[n] = proposal(n, **more)
        self.changed("proposals")

    def changed(self, what: str) -> None:
        self.tell("changed", {"what": what})

    def _status(self, q: Params) -> Json:
        rows = sorted(self.agents, key=lambda row: str(row["name"]))
        return {
            "root": "/x",
            "runtime": "nspawn",
            "applied": "77d0e4b" + "0" * 33,
            "at": time.time(),
            "stale": None,
            "suspended": None,
            "templates": ["reader", "worker"],
            **page((row for row in rows if row["name"] > q.get("after", "")), "name"),
        }

    def _retired(self, q: Params) -> Json:
        uids = [row["uid"] for row in self.retired]
        start = uids.index(q["after"]) + 1 if "after" in q else 0
        return page(self.retired[start:], "uid")

    def _proposals(self, q: Params) -> Json:
        wanted = q.get("state")
        rows = [p["row"] for p in self.proposals.values()]
        if wanted == "closed":
            rows = [r for r in rows if r["state"] not in ("open", "merged")]
        elif wanted:
            rows = [r for r in rows if r["state"] == wanted]
        return {"proposals": rows[: q["limit"]]}

    def _proposal(self, n: int) -> Json:
        if n not in self.proposals:
            raise RpcError(NOT_FOUND, f"there is no proposal {n}")
        found = self.proposals[n]
        return {**found["row"], "plan": None, **{k: v for k, v in found.items() if k != "row"}}

    def _part(self, n: int, part: str, after: int) -> Json:
        """Two rows a page."""
        found = self._proposal(n)
        rows = found["diff"] if part == "diff" else found["effect"][part]
        behind = after + 2
        return {
            "digest": found["effect"]["digest"],
            "rows": rows[after:behind],
            "next": behind if behind < len(rows) else None,
        }

    def _approve(self, q: Params) -> Json:
        self._proposal(q["n"])
        if self.refuse is not None:
            refuse, self.refuse = self.refuse, None
            raise refuse
        row = self.proposals[q["n"]]["row"]
        if q["effect"] != row["effect"]["digest"]:
            raise RpcError(
                CONFLICT,
                "the effect is another by now",
                {
                    "effect": row["effect"],
                    "digest": row["effect"]["digest"],
                    "changed": ["scout.limits.memory is 3G instead of 2G"],
                },
            )
        self._end(q["n"], "merged", None, q["on_behalf"])
        return {"commit": "5e21c0d" + "0" * 33}

    def _end(self, n: int, state: str, reason: str | None, by: str) -> Json:
        self._proposal(n)
        self.proposals[n]["row"].update(state=state, reason=reason, by=by, ended=time.time())
        self.changed("proposals")
        return {}

    def _spawn(self, q: Params) -> Json:
        return self._propose("spawn", q["description"] or "new", q["name"])

    def _purge(self, q: Params) -> Json:
        if all(row["uid"] != q["agent"] for row in self.retired):
            raise RpcError(NOT_FOUND, f"nothing is kept of {q['agent']}")
        self.retired = [row for row in self.retired if row["uid"] != q["agent"]]
        return {"purged": [q["agent"]]}

    def _propose(self, kind: str, description: str, agent: str = "scout") -> Json:
        n = max(self.proposals, default=0) + 1
        self.add(n, kind=kind, agent=agent, description=description)
        return {"proposal": n, "state": "open", "message": ""}


class FakeBroker(FakeServer):
    """broker.sock, with an event history that subscriptions resume."""

    def __init__(self, layout: Layout) -> None:
        self.events: list[Json] = []
        self.messages: list[Json] = []
        self.questions: list[Json] = []
        self.dead: list[Json] = []
        self.conditions: list[Json] = []
        self.states: dict[str, Json] = {n: agent_status(n) for n in ("hm1nd", "scout")}
        self._ids = itertools.count(1)
        self._subscribed: set[Peer] = set()
        super().__init__(
            layout.broker_sock,
            {
                "status": lambda _p, _q: {"conditions": self.conditions},
                "subscribe": self._subscribe,
                "events": lambda _p, q: self._events(q),
                "search_events": lambda _p, q: self._search(q),
                "login.start": lambda _p, _q: {"url": "https://claude.example/login?x=1"},
                "login.code": lambda _p, q: self._log_in(q),
                "login.cancel": lambda _p, _q: {},
                "metrics": lambda _p, _q: {"text": "hive_broker_messages_total 3\n"},
                "agents": lambda _p, q: self._agents(q),
                "questions": lambda _p, q: self._questions(q),
                "messages": lambda _p, q: self._messages(q),
                "dead": lambda _p, _q: {"dead": self.dead},
                "send": lambda _p, q: self._send(q),
                "answer": lambda _p, q: self._answer(q),
                "question.hold": lambda _p, q: self._hold(q),
                "command": lambda _p, q: {"text": f"/{q['command']} done"},
                "pause": lambda _p, _q: {},
                "unpause": lambda _p, _q: {},
                "undamp": lambda _p, q: self._undamp(q),
                "dead.retry": lambda _p, _q: {},
                "dead.drop": lambda _p, q: self._drop(q),
            },
        )

    def emit(self, kind: str, data: Json, agent: str = "scout", turn: str | None = None) -> int:
        """A new event, stored and told."""
        return self.emit_many([(kind, data)], agent, turn)

    def emit_many(
        self, rows: list[tuple[str, Json]], agent: str = "scout", turn: str | None = None
    ) -> int:
        events = [
            {
                "id": next(self._ids),
                "agent": UIDS.get(agent),
                "name": agent,
                "seq": 1,
                "turn": turn,
                "kind": kind,
                "data": data,
                "at": time.time(),
            }
            for kind, data in rows
        ]
        self.events += events
        for peer in self._subscribed & self.peers:
            for start in range(0, len(events), 200):
                peer.notify("events", {"events": events[start : start + 200]})
        return int(events[-1]["id"])

    def message(self, sender: str, to: str, body: str) -> int:
        n = len(self.messages) + 1
        self.messages.append(
            {
                "id": n,
                "sender": sender,
                "to": to,
                "kind": "text",
                "body": body,
                "data": None,
                "thread": n,
                "in_reply_to": None,
                "at": time.time(),
            }
        )
        self.emit(
            "message",
            {
                "id": n,
                "from": sender,
                "to": to,
                "kind": "text",
                "preview": body[:200],
                "thread": n,
                "in_reply_to": None,
            },
            to if to in UIDS else sender,
        )
        return n

    def ask(
        self,
        text: str,
        options: list[str] | None = None,
        *,
        agent: str = "scout",
        multi: bool = False,
        expires: float | None = None,
    ) -> int:
        n = len(self.questions) + 1
        self.questions.append(
            {
                "id": n,
                "agent": agent,
                "uid": UIDS[agent],
                "text": text,
                "options": options or [],
                "multi": multi,
                "asked": time.time(),
                "expires": expires,
                "state": "open",
                "answer": None,
                "answered_by": None,
            }
        )
        self.emit("question", self.questions[-1], agent)
        return n

    def condition(self, type: str, message: str, *agents: str) -> None:
        row = {"type": type, "message": message, "since": time.time(), "agents": list(agents)}
        self.conditions.append(row)
        self.emit("condition", {"type": type, "status": "True", "message": message})

    def _undamp(self, _q: Params) -> Json:
        self.conditions = [c for c in self.conditions if c["type"] != "Damped"]
        self.emit("condition", {"type": "Damped", "status": "False", "message": ""})
        return {}

    def state(self, agent: str, state: str, detail: str = "", **more: Any) -> None:
        self.states[agent] = {**agent_status(agent), "state": state, "detail": detail, **more}
        self.emit("state", {"state": state, "since": time.time(), "detail": detail}, agent)

    def _agents(self, q: Params) -> Json:
        rows = sorted(self.states.values(), key=lambda row: str(row["uid"]))
        return page((row for row in rows if row["uid"] > q.get("after", "")), "uid")

    def _subscribe(self, peer: Peer, q: Params) -> Json:
        self._subscribed.add(peer)
        after = q["after"]
        end = self.events[-1]["id"] if self.events else 0
        cursor = end if after is None else min(after, end)
        if cursor < end:
            late = [e for e in self.events if e["id"] > cursor]
            asyncio.get_running_loop().call_soon(peer.notify, "events", {"events": late})
        return {"cursor": cursor}

    def _events(self, q: Params) -> Json:
        rows = [
            e
            for e in self.events
            if e["id"] > q.get("after", 0)
            and e["id"] < q.get("before", 1 << 60)
            and ("uid" not in q or e["agent"] == q["uid"])
            and ("kinds" not in q or e["kind"] in q["kinds"])
        ]
        rows = rows[: q["limit"]] if "after" in q else rows[-q["limit"] :]
        return {"events": rows, "cursor": rows[-1]["id"] if rows else 0}

    def _search(self, q: Params) -> Json:
        before = q.get("before", 1 << 60)
        rows = [
            e
            for e in self.events
            if e["agent"] == q["agent"] and q["query"] in str(e["data"]) and e["id"] < before
        ]
        found = rows[-q["limit"] :]
        cursor = found[0]["id"] if found else 0
        return {"events": found, "more": len(rows) > q["limit"], "cursor": cursor}

    def _log_in(self, q: Params) -> Json:
        if q["code"] != "right":
            raise RpcError(REFUSED, "the code is not the one")
        return {"text": "logged in as ana@example.org"}

    def _messages(self, q: Params) -> Json:
        peer = q.get("peer")
        rows = [m for m in self.messages if peer is None or peer in (m["sender"], m["to"])]
        return {"messages": rows[-q["limit"] :], "cursor": len(self.messages)}

    def _send(self, q: Params) -> Json:
        if q["to"] not in (*UIDS, "everyone"):
            raise RpcError(NOT_FOUND, f"nobody is called {q['to']!r}; there are hm1nd, scout")
        n = self.message("operator", q["to"], q["body"])
        return {"id": n, "thread": n}

    def _answer(self, q: Params) -> Json:
        row = self._question(q["id"])
        row.update(
            state="answered",
            answer={"text": q.get("text"), "choices": q.get("choices")},
            answered_by=q["by"],
        )
        self.emit("question", row, row["agent"])
        return {}

    def _question(self, n: int) -> Json:
        if not 1 <= n <= len(self.questions):
            raise RpcError(NOT_FOUND, f"there is no question {n}")
        return self.questions[n - 1]

    def _questions(self, q: Params) -> Json:
        rows = [r for r in self.questions if r["state"] == "open" or not q["open"]]
        return {"questions": rows[: q["limit"]]}

    def _hold(self, q: Params) -> Json:
        row = self._question(q["id"])
        row["expires"] = (row["expires"] or time.time()) + q.get("more", 60)
        self.emit("question", row, row["agent"])
        return {"expires": row["expires"]}

    def _drop(self, q: Params) -> Json:
        self.dead = [d for d in self.dead if d["id"] != q["id"]]
        self.emit("dead", {"message": q["id"], "attempts": 5, "cause": "dropped"})
        return {}


def host_agent(name: str, **more: Any) -> Json:
    return {
        "name": name,
        "uid": UIDS[name],
        "role": "agent",
        "engine": "rehearsal",
        "container": name if name == "hm1nd" else f"h-{name}",
        "description": "",
        "desired": "running",
        "state": "running",
        "revision": "9f3c1a2b77",
        "running_revision": "9f3c1a2b77",
        "in_sync": True,
        "conditions": [
            {
                "type": "Ready",
                "status": True,
                "reason": "Hello",
                "message": "",
                "since": time.time(),
            }
        ],
        "web_port": None,
        "tasks": 4,
        "memory": 42 << 20,
        **more,
    }


def agent_status(name: str, **more: Any) -> Json:
    return {
        "uid": UIDS[name],
        "name": name,
        "ready": True,
        "boot": None,
        "state": "idle",
        "since": time.time() - 62,
        "detail": "",
        "until": None,
        "turn": None,
        "queued": 0,
        "dead": 0,
        "held": False,
        "fenced": False,
        "paused": False,
        "last_event": 0,
        "last_seen": time.time(),
        "engine_pids": None,
        **more,
    }


def line(kind: str, old: int | None, new: int | None, text: str) -> Json:
    return {"kind": kind, "old": old, "new": new, "text": text}


TOML = {
    "path": "agents/scout/agent.toml",
    "status": "modified",
    "old_mode": 33188,
    "new_mode": 33188,
    "added": 2,
    "removed": 1,
    "binary": False,
    "hunks": [
        [
            line(" ", 1, 1, 'role = "agent"'),
            line("-", 2, None, 'description = "reads the news"'),
            line("+", None, 2, 'description = "reads the papers" # quietly'),
            line(" ", 3, 3, "[limits]"),
            line("+", None, 4, 'memory = "3G"'),
        ]
    ],
}
NIX = {
    "path": "agents/scout/agent.nix",
    "status": "added",
    "old_mode": None,
    "new_mode": 33188,
    "added": 3,
    "removed": 0,
    "binary": False,
    "hunks": [
        [
            line("+", None, 1, "{ pkgs, ... }: {"),
            line("+", None, 2, '  environment.systemPackages = [ pkgs.jq ]; # "tools"'),
            line("+", None, 3, "}"),
        ]
    ],
}


def proposal(
    n: int, *, digest: str = "ab" * 32, files: list[Json] | None = None, **more: Any
) -> Json:
    row = {
        "n": n,
        "kind": "apply",
        "agent": "scout",
        "requester": "agent/hm1nd",
        "description": "give scout more memory",
        "commit": "9f3c1a2" + "0" * 33,
        "base": "77d0e4b" + "0" * 33,
        "state": "open",
        "created": time.time() - 480,
        "reason": None,
        "by": None,
        "ended": None,
        "needs_rebase": False,
        "deployed": None,
        "effect": {
            "digest": digest,
            "version": 1,
            "files": [],
            "changes": [
                {
                    "agent": "scout",
                    "field": "description",
                    "before": "reads the news",
                    "after": "reads the papers",
                    "risk": "low",
                    "text": "",
                },
                {
                    "agent": "scout",
                    "field": "limits.memory",
                    "before": "2G",
                    "after": "3G",
                    "risk": "high",
                    "text": "scout: limits.memory 2G → 3G",
                },
            ],
            "actions": [{"kind": "update", "agent": "scout", "reason": "limits.memory changed"}],
        },
        **more,
    }
    return {
        "row": row,
        "diff": files if files is not None else [TOML, NIX],
        "diff_left_out": 0,
        "checks": [],
        "build": None,
    }
