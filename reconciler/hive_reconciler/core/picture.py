"""The swarm as it is known now. Filled by the loop; read by whoever shows or tells it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hive_wire.jsonrpc import UNAVAILABLE, RpcError
from hive_wire.names import container_name
from hive_wire.protocol import AgentStatus, Registry

from ..model.conditions import Condition, evolve
from ..model.desired import Desired, Valid
from ..model.memory import AgentMemory, Memory
from ..model.plan import Plan
from ..runtime.base import Observed, Phase
from . import health, planner, recall, rollout
from .containers import Toolchain
from .events import Events
from .operations import Operation
from .outcomes import Standing
from .registry import leaving, registry, usable

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
    events: Events = field(default_factory=Events)
    _by_uid: dict[str, Observed] = field(default_factory=dict)
    _usable: tuple[object, object, Mapping[str, tuple[str, Valid]]] = (None, None, {})
    _registry: tuple[object, object, Registry] = (None, None, Registry(agents=()))
    _standings: tuple[object, list[object]] = (None, [])
    _judged: dict[str, tuple[object, ...]] = field(default_factory=dict)  # by name: from what

    def usable(self) -> Mapping[str, tuple[str, Valid]]:
        """(name, spec) by uid of every agent whose spec can be used, now or from before."""
        if self.desired is None:
            return {}
        agents, memory, found = self._usable
        if agents is not self.desired.agents or memory is not self.memory:
            found = usable(self.desired, Memory(self.memory))
            self._usable = (self.desired.agents, self.memory, found)
        return found

    def registry(self) -> Registry:
        """What broker and gateway are told; the same object until something in it changes."""
        assert self.desired is not None
        agents = self.usable()
        gone = leaving(Memory(self.memory), self.observed, agents)
        before, left, found = self._registry
        if before is not agents or left != gone:
            found = registry(agents, gone)
            self._registry = (agents, gone, found)
        return found

    def inputs(self) -> tuple[object, ...]:
        """What a plan and its telling are made of, but for memory and clock; to be compared."""
        desired = self.desired
        assert desired is not None
        ready = None if self.statuses is None else {u for u, s in self.statuses.items() if s.ready}
        if self._standings[0] is not self.observed:
            self._standings = (self.observed, [one.standing for one in self.observed])
        return (
            *(desired.commit, id(desired.agents), desired.hive, desired.allow_prune),
            *(self.toolchain, self.suspensions, self.suspended, self.may_destroy, ready),
            self._standings[1],
        )

    def see(self, observed: tuple[Observed, ...]) -> None:
        """Take over an observation; a container whose record is lost is whose it was."""
        if observed == self.observed and "" not in self._by_uid:
            return  # and keep the object: what is made of it stays
        known = {one.uid for one in observed}
        if "" in known:
            owners = self._owners()
            observed = tuple(
                replace(one, uid=owners[one.name])
                if not one.uid and owners.get(one.name, "") not in known
                else one
                for one in observed
            )
        self.observed = observed
        self._by_uid = planner.by_uid(observed)

    def _owners(self) -> dict[str, str]:
        """Uids by container: as last seen, else of the only agent that is known by that name."""
        remembered = {uid: (m.name, m.good) for uid, m in self.memory.items() if m.good is not None}
        found: dict[str, str] = {}
        for uid, (name, valid) in {**remembered, **self.usable()}.items():
            container = container_name(name, valid.spec.role)
            found[container] = "" if container in found else uid
        return found | {one.name: one.uid for one in self.observed if one.uid}

    def seen(self, uid: str) -> Observed | None:
        """Its container; the live one, where a rename left another behind."""
        return self._by_uid.get(uid)

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
        now = time.time()
        plan = planner.plan(desired, self.observed, memory, self.toolchain, now)
        return rollout.bounded(
            plan, desired, self.observed, memory, statuses=self.statuses, now=now
        )

    def recalled(self, desired: Desired) -> dict[str, AgentMemory]:
        """The memory, with what `desired` makes of it; the same object when that is nothing."""
        news: dict[str, AgentMemory] = {}
        for name, entry in desired.agents.items():
            if isinstance(entry, Valid) and entry.spec.uid is not None:
                before = self.memory.get(entry.spec.uid, FRESH)
                after = recall.wanted(before, name, entry)
                if after is not before:
                    news[entry.spec.uid] = after
        return {**self.memory, **news} if news else self.memory

    def judge(self, under_way: Mapping[str, Operation], broker_down_since: float | None) -> None:
        """Conditions of every agent, from all that is known."""
        if self.desired is None:
            return
        uids = {name: uid for uid, (name, _) in self.usable().items()}
        now = time.time()
        found: dict[str, tuple[Condition, ...]] = {}
        judged: dict[str, tuple[object, ...]] = {}
        statuses = self.statuses or {}
        swarm = (self.stalled, self.suspended, broker_down_since)
        actions = {a.uid: a for a in self.plan.changes} if self.plan is not None else {}
        blocked = {b.agent: b for b in reversed(self.plan.blocked)} if self.plan else {}
        for name, entry in self.desired.agents.items():
            uid = uids.get(name, "")
            operation = under_way.get(uid)
            doing = (operation.reason, operation.message) if operation else None
            memory, seen, status = self.memory.get(uid, FRESH), self.seen(uid), statuses.get(uid)
            suspended, action, stopped = self._suspended(uid), actions.get(uid), blocked.get(name)
            stands = seen and seen.standing
            ready = status and status.ready
            made_of = (entry, memory, stands, ready, action, stopped, doing, suspended, swarm)
            judged[name] = made_of
            if (
                ready is not False and self._judged.get(name) == made_of
            ):  # one not ready: the clock matters
                found[name] = self.conditions[name]
                continue
            facts = health.Facts(
                entry=entry,
                memory=memory,
                seen=seen,
                broker=status,
                broker_down_since=broker_down_since,
                action=action,
                blocked=stopped,
                doing=doing,
                swarm_stalled=self.stalled,
                suspended=suspended,
                now=now,
            )
            before = self.conditions.get(name, ())
            found[name] = evolve(before, health.conditions(facts), now)
            self.events.moved(name, before, found[name], now)
        self.conditions, self._judged = found, judged

    def _suspended(self, uid: str) -> tuple[str, str] | None:
        if self.suspended is not None:
            return "ShuttingDown", self.suspended
        words = self.suspensions.get(uid) or self.suspensions.get("*")
        return None if words is None else ("Suspended", words)

    def is_answering(self) -> bool:
        """Whether the harness of every container that runs is there."""
        if self.statuses is None:
            return False
        live = [o.uid for o in self.observed if health.is_live(o)]
        return all(uid in self.statuses and self.statuses[uid].ready for uid in live)

    def standing(self, unsettled: frozenset[str]) -> Standing | None:
        """How far the applied commit is reached; `unsettled` uids are not looked at."""
        if self.desired is None:
            return None
        agents = self.usable()
        stopped: set[str] = set()
        ready: set[str] = set()
        failed: dict[str, str] = {}
        now = time.time()
        for uid, (name, valid) in agents.items():
            if uid in unsettled:
                continue
            status = (self.statuses or {}).get(uid)
            memory = self.memory.get(uid, FRESH)
            if valid.spec.state == "running" and self.suspended is None:
                why = health.deploy_failure(valid, memory, self.seen(uid), status, now)
                if why is not None:
                    failed[name] = why
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
            failed=failed,
        )

    def _is_ready(self, uid: str, valid: Valid) -> bool:
        seen, status = self.seen(uid), (self.statuses or {}).get(uid)
        if seen is None or status is None:
            return False
        return seen.phase is Phase.RUNNING and seen.revision == valid.revision and status.ready

    def _is_stopped(self, uid: str) -> bool:
        seen = self.seen(uid)
        return seen is None or seen.phase is Phase.STOPPED
