"""A broker as the dashboard sees it."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from support.page_rows import UIDS, Json, agent_status
from support.page_server import FakeServer

from hive_wire.jsonrpc import Params, Peer
from hive_wire.pages import page
from hive_wire.paths import Layout
from hive_wire.rpc_errors import NOT_FOUND, REFUSED, RpcError


class FakeBroker(FakeServer):
    """broker.sock, with an event history that subscriptions resume."""

    def __init__(self, layout: Layout) -> None:
        self.events: list[Json] = []
        self.messages: list[Json] = []
        self.questions: list[Json] = []
        self.dead: list[Json] = []
        self.conditions: list[Json] = []
        self.fitting = 1 << 30  # events in one answer, which is one frame
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
                "inbox": lambda _p, q: self._inbox(q),
                "dead": lambda _p, q: self._dead(q),
                "send": lambda _p, q: self._send(q),
                "answer": lambda _p, q: self._answer(q),
                "question.hold": lambda _p, q: self._hold(q),
                "command": lambda _p, q: {"text": f"/{q['command']} done"},
                "pause": lambda _p, _q: {},
                "unpause": lambda _p, _q: {},
                "undamp": lambda _p, q: self._undamp(q),
                "dead.retry": lambda _p, q: self._settle(q, "dead.retried"),
                "dead.drop": lambda _p, q: self._settle(q, "dead.dropped"),
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
        limit = min(q["limit"], self.fitting)
        rows = rows[:limit] if "after" in q else rows[-limit:]
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

    def _inbox(self, q: Params) -> Json:
        rows = [m for m in self.messages if m["to"] == "operator"]
        return {"messages": rows[-q["limit"] :]}

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
        is_open = [r for r in self.questions if r["state"] == "open"]
        if q.get("soonest"):
            soonest = sorted(is_open, key=lambda r: r["expires"] or float("inf"))
            return {"questions": soonest[: q["limit"]], "next": None, "open": len(is_open)}
        rows = is_open if q["open"] else self.questions[::-1]
        if (after := q.get("after")) is not None:
            rows = [r for r in rows if (r["id"] > after if q["open"] else r["id"] < after)]
        found = rows[: q["limit"]]
        behind = found[-1]["id"] if len(rows) > len(found) else None
        return {"questions": found, "next": behind, "open": len(is_open)}

    def _hold(self, q: Params) -> Json:
        row = self._question(q["id"])
        row["expires"] = (row["expires"] or time.time()) + q.get("more", 60)
        self.emit("question", row, row["agent"])
        return {"expires": row["expires"]}

    def _dead(self, q: Params) -> Json:
        """A place is written as the broker does: when it was given up, message, agent."""
        start = int(q["after"].split(":")[1]) + 1 if "after" in q else 0
        end = start + q["limit"]
        behind = f"1.5:{end - 1}:{UIDS['scout']}" if end < len(self.dead) else None
        return {"dead": self.dead[start:end], "next": behind, "total": len(self.dead)}

    def _settle(self, q: Params, kind: str) -> Json:
        self.dead = [d for d in self.dead if d["id"] != q["id"]]
        self.emit(kind, {"message": q["id"], "by": q["by"]})
        return {}
