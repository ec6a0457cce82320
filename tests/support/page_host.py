"""A reconciler as the dashboard sees it."""

from __future__ import annotations

import time
from typing import Any

from support.page_rows import Json, host_agent, proposal
from support.page_server import FakeServer

from hive_wire.jsonrpc import Params
from hive_wire.pages import page
from hive_wire.paths import Layout
from hive_wire.rpc_errors import CONFLICT, NOT_FOUND, RpcError


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
        before = q.get("before", 1 << 53)
        rows = [
            self.proposals[n]["row"] for n in sorted(self.proposals, reverse=True) if n < before
        ]
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
