"""The swarm as it is known now. Filled by the loop; read by whoever shows or tells it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from hive_wire.jsonrpc import UNAVAILABLE, RpcError
from hive_wire.protocol import AgentStatus

from ..model.conditions import Condition, evolve
from ..model.desired import Desired, Valid
from ..model.memory import AgentMemory, Memory
from ..model.plan import Plan
from ..runtime.base import Observed, Phase
from . import health, planner, recall
from .containers import Toolchain
from .operations import Operation
from .outcomes import Standing
from .registry import usable

FRESH = AgentMemory()


@dataclass
class Picture:
    """By uid, but `conditions`, which are by name: a bad entry has no uid."""

    toolchain: Toolchain | None = None
    desired: Desired | None = None
    observed: tuple[Observed, ...] = ()
    statuses: dict[str, AgentStatus] | None = None  # None while the broker is away
    memory: dict[str, AgentMemory] = field(default_factory=dict)
    may_destroy: frozenset[str] = frozenset()
    suspensions: Mapping[str, str] = field(default_factory=dict)  # by uid, "*" for all
    ports: Mapping[str, int] = field(default_factory=dict)
    plan: Plan | None = None
    conditions: dict[str, tuple[Condition, ...]] = field(default_factory=dict)
    stalled: tuple[str, str] | None = None  # reason and message, for the whole swarm
    suspended: str | None = None
    at: float = 0.0  # unix seconds of the last whole round
    rounds: int = 0

    def usable(self) -> dict[str, tuple[str, Valid]]:
        """(name, spec) by uid of every agent whose spec can be used, now or from before."""
        return {} if self.desired is None else usable(self.desired, Memory(self.memory))

    def seen(self, uid: str) -> Observed | None:
        """Its container; the live one, where a rename left another behind."""
        return planner.by_uid(self.observed).get(uid)

    def uid_of(self, name: str) -> str | None:
        return next((uid for uid, (known, _) in self.usable().items() if known == name), None)

    def dry_run(self, desired: Desired | None = None) -> Plan:
        """The plan for `desired`, else for the applied commit, from what was last observed.

        Raises RpcError while nothing was read.
        """
        desired = desired or self.desired
        if desired is None or self.toolchain is None:
            why = ": ".join(self.stalled) if self.stalled else "the first round is under way"
            raise RpcError(UNAVAILABLE, f"nothing was read yet: {why}")
        memory = Memory(self.recalled(desired), self.may_destroy, self.suspensions)
        return planner.plan(desired, self.observed, memory, self.toolchain, time.time())

    def recalled(self, desired: Desired) -> dict[str, AgentMemory]:
        """The memory, with what `desired` makes of it."""
        memory = dict(self.memory)
        for name, entry in desired.agents.items():
            if isinstance(entry, Valid) and entry.spec.uid is not None:
                before = memory.get(entry.spec.uid, FRESH)
                memory[entry.spec.uid] = recall.wanted(before, name, entry)
        return memory

    def judge(self, under_way: Mapping[str, Operation], broker_down_since: float | None) -> None:
        """Conditions of every agent, from all that is known."""
        if self.desired is None:
            return
        uids = {name: uid for uid, (name, _) in self.usable().items()}
        now = time.time()
        found: dict[str, tuple[Condition, ...]] = {}
        for name, entry in self.desired.agents.items():
            uid = uids.get(name, "")
            operation = under_way.get(uid)
            changes = self.plan.changes if self.plan is not None else ()
            blocked = self.plan.blocked if self.plan is not None else ()
            facts = health.Facts(
                entry=entry,
                memory=self.memory.get(uid, FRESH),
                seen=self.seen(uid),
                broker=(self.statuses or {}).get(uid),
                broker_down_since=broker_down_since,
                action=next((a for a in changes if a.uid == uid), None),
                blocked=next((b for b in blocked if b.agent == name), None),
                doing=(operation.reason, operation.message) if operation else None,
                swarm_stalled=self.stalled,
                suspended=self._suspended(uid),
            )
            found[name] = evolve(self.conditions.get(name, ()), health.conditions(facts), now)
        self.conditions = found

    def _suspended(self, uid: str) -> tuple[str, str] | None:
        if self.suspended is not None:
            return "ShuttingDown", self.suspended
        words = self.suspensions.get(uid) or self.suspensions.get("*")
        return None if words is None else ("Suspended", words)

    def standing(self, unsettled: frozenset[str]) -> Standing | None:
        """How far the applied commit is reached; `unsettled` uids are not looked at."""
        if self.desired is None:
            return None
        agents = self.usable()
        stopped: set[str] = set()
        ready: set[str] = set()
        for uid, (name, valid) in agents.items():
            if uid in unsettled:
                continue
            if valid.spec.state == "running" and self._is_ready(uid, valid):
                ready.add(name)
            if valid.spec.state == "stopped" and self._is_stopped(uid):
                stopped.add(name)
        return Standing(
            commit=self.desired.commit,
            manager=next((n for n, v in agents.values() if v.spec.role == "manager"), None),
            names={uid: name for uid, (name, _) in agents.items()},
            present=frozenset(self.desired.agents),
            stopped=frozenset(stopped),
            ready=frozenset(ready),
        )

    def _is_ready(self, uid: str, valid: Valid) -> bool:
        seen, status = self.seen(uid), (self.statuses or {}).get(uid)
        if seen is None or status is None:
            return False
        return seen.phase is Phase.RUNNING and seen.revision == valid.revision and status.ready

    def _is_stopped(self, uid: str) -> bool:
        seen = self.seen(uid)
        return seen is None or seen.phase is Phase.STOPPED
