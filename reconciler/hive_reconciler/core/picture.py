"""The swarm as it is known now. Filled by the loop; read by whoever shows or tells it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

from hive_wire.names import container_name
from hive_wire.protocol import AgentStatus, RegistryAgent
from hive_wire.rpc_errors import UNAVAILABLE, RpcError

from ..model.conditions import Condition, evolve
from ..model.desired import Desired, Entry
from ..model.layered import Layered, since
from ..model.memory import AgentMemory, Memory
from ..model.plan import Action, Blocked, Plan
from ..runtime.base import Observed, Phase
from . import health, rollout
from .agents import NOBODY, Agent, Agents, Sources, joined, joining
from .containers import Toolchain
from .events import Events
from .operations import Operation
from .outcomes import Stand, Standing
from .planner import Planner, Swarm
from .registry import Register
from .sight import Sight
from .slices import Work, at_once, in_slices

Doing = tuple[Action | None, Blocked | None, tuple[str, str] | None]
NO_ENTRIES: Mapping[str, Entry] = {}
NOTHING: Doing = (None, None, None)


@dataclass
class Picture:
    """By uid, but `conditions`, which are by name: a bad entry has no uid."""

    toolchain: Toolchain | None = None
    desired: Desired | None = None
    observed: tuple[Observed, ...] = ()
    sight: Sight = field(default_factory=Sight)  # the same object while they only use more
    memory: Layered[str, AgentMemory] = field(default_factory=Layered)
    may_destroy: frozenset[str] = frozenset()
    suspensions: Mapping[str, str] = field(default_factory=dict)  # by uid, "*" for all
    ports: Mapping[str, int] = field(default_factory=dict)
    plan: Plan | None = None
    conditions: dict[str, tuple[Condition, ...]] = field(default_factory=dict)
    stalled: tuple[str, str] | None = None  # reason and message, for the whole swarm
    suspended: str | None = None
    at: float = 0.0  # unix seconds of the last whole round
    events: Events = field(default_factory=Events)
    _statuses: Mapping[str, AgentStatus] | None = None
    _ready: Mapping[str, bool] = field(default_factory=dict)
    _latest: Sight = field(default_factory=Sight)
    _agents: Agents = NOBODY
    _planner: Planner = field(default_factory=Planner)
    _register: Register = field(default_factory=Register)
    _judged: tuple[object, Mapping[str, Agent], Mapping[str, Doing]] = (None, {}, {})
    _steps: tuple[Plan | None, Mapping[str, Action], Mapping[str, Blocked]] = (None, {}, {})
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)  # the later look sees the later
    _moving: asyncio.Lock = field(default_factory=asyncio.Lock)

    # -- taking over -----------------------------------------------------------------

    async def want(self, desired: Desired) -> None:
        """Take over what was read."""
        async with self._moving:
            await self._meet(entries=desired.agents)
            self.desired = desired

    async def look(self, observed: tuple[Observed, ...]) -> None:
        """Take over an observation."""
        async with self._moving:
            found = await in_slices(self._seeing(observed))
            if found is not None:
                await self._meet(sight=found[2])
                self.observed, self._latest, self.sight = found

    async def hear(self, statuses: Mapping[str, AgentStatus] | None) -> None:
        """Take over what the broker said."""
        async with self._moving:
            if statuses is not self._statuses:
                ready = self._readiness(statuses)
                await self._meet(ready=ready)
                self._statuses, self._ready = statuses, ready

    async def _meet(self, **news: Any) -> None:
        """Join the agents with what comes before it is there: whoever asks for an agent then has
        little to wait for, and until then has all as it was."""
        agents = self._agents
        while True:
            sources = self._sources()._replace(**news)
            agents = await in_slices(joining(agents, sources))
            if sources.memory is self.memory:
                self._agents = agents
                return

    @property
    def statuses(self) -> Mapping[str, AgentStatus] | None:
        """What the broker says; None while it is away."""
        return self._statuses

    @statuses.setter
    def statuses(self, statuses: Mapping[str, AgentStatus] | None) -> None:
        self._statuses, self._ready = statuses, self._readiness(statuses)

    def _readiness(self, statuses: Mapping[str, AgentStatus] | None) -> Mapping[str, bool]:
        ready = {uid: status.ready for uid, status in (statuses or {}).items()}
        return self._ready if ready == self._ready else ready

    @property
    def agents(self) -> Agents:
        """Every agent of the applied commit with all that is known of it now."""
        self.catch_up()
        return self._agents

    def catch_up(self) -> None:
        """Join the agents with what is remembered since, before that is too much for one step."""
        self._agents = joined(self._agents, self._sources())

    def _sources(self) -> Sources:
        entries = NO_ENTRIES if self.desired is None else self.desired.agents
        return Sources(entries, self.sight, self.memory, self._ready)

    def remember(self, news: Mapping[str, AgentMemory]) -> None:
        self.memory = self.memory.changed(news)

    def forget(self, uids: Set[str]) -> None:
        self.memory = self.memory.changed({}, uids)

    @property
    def leaving(self) -> Set[str]:
        """Uids of whom something is remembered and for whom nothing usable stands. Of all others
        something is remembered, too, once a round has begun."""
        usable = self.agents.by_uid
        if len(usable) == len(self.memory):
            return frozenset()
        return self.memory.keys() - usable.keys()

    def registering(self) -> Work[Mapping[str, RegistryAgent]]:
        """What broker and gateway are told."""
        return self._register.registering(self.agents)

    def inputs(self) -> tuple[object, ...]:
        """What a plan and its telling are made of, but for memory and clock; to be compared."""
        desired = self.desired
        assert desired is not None
        return (
            *(desired.commit, desired.agents, desired.hive, desired.allow_prune),
            *(self.toolchain, self.suspensions, self.suspended, self.may_destroy),
            *(self._ready, self._statuses is None, self.sight),
        )

    def see(self, observed: tuple[Observed, ...]) -> None:
        """The same at once."""
        found = at_once(self._seeing(observed))
        if found is not None:
            self.observed, self._latest, self.sight = found

    def _seeing(
        self, observed: tuple[Observed, ...]
    ) -> Work[tuple[tuple[Observed, ...], Sight, Sight] | None]:
        """What to hold of an observation, None when it is the last one again; a container whose
        record is lost is whose it was."""
        if "" not in self._latest.by_uid and (yield from _is_again(observed, self.observed)):
            return None
        if any(not one.uid for one in observed):
            known, alive = {o.uid for o in observed}, {o.uid for o in observed if o.lives}
            yield
            living = self._living()
            yield
            bearers = self._bearers()
            owned: list[Observed] = []
            for one in observed:
                yield
                whose = (living, alive) if one.lives else (bearers, known)
                owned.append(_of_its_owner(one, *whose))
            observed = tuple(owned)
        yield
        latest = Sight(observed)
        yield
        return observed, latest, (yield from self.sight.following(latest))

    def _living(self) -> dict[str, str]:
        """Uids by live container: as last seen, else as remembered. A name alone tells nothing:
        its former bearer may have been renamed and may run there yet."""
        placed = [(m.container, uid) for uid, m in self.memory.items() if m.container]
        shared = Counter(container for container, _ in placed)
        found = {container: uid for container, uid in placed if shared[container] == 1}
        return found | {one.name: one.uid for one in self.observed if one.uid and one.lives}

    def _bearers(self) -> dict[str, str]:
        """Uids by container, of what lives no longer: of the only agent known by that name."""
        remembered = {uid: (m.name, m.good) for uid, m in self.memory.items() if m.good is not None}
        usable = {uid: (a.name, a.valid) for uid, a in self.agents.by_uid.items()}
        found: dict[str, str] = {}
        for uid, (name, valid) in {**remembered, **usable}.items():
            assert valid is not None
            container = container_name(name, valid.spec.role)
            found[container] = "" if container in found else uid
        return found | {one.name: one.uid for one in self.observed if one.uid}

    def seen(self, uid: str) -> Observed | None:
        """Its container; the live one, where a rename left another behind."""
        return self._latest.by_uid.get(uid)

    def uid_of(self, name: str) -> str | None:
        agent = self.agents.by_name.get(name)
        return agent.uid if agent is not None and agent.valid is not None else None

    def swarm(self) -> Swarm:
        """All that the plan for the applied commit is made of. Raises RpcError while nothing was
        read."""
        desired, toolchain = self._read(self.desired)
        memory = Memory(self.memory, self.may_destroy, self.suspensions)
        return Swarm(desired, memory, toolchain, self.agents)

    def is_of(self, swarm: Swarm) -> bool:
        """Whether `swarm` is about the present, but for what concerns one agent alone."""
        memory = swarm.memory
        return (
            self.desired is swarm.desired
            and self.toolchain is swarm.toolchain
            and self.suspensions is memory.suspended
            and self.may_destroy is memory.may_destroy
        )

    def is_the_same(self, uid: str, swarm: Swarm) -> bool:
        """Whether nothing of this agent, or of a container without one, is another than there."""
        sight = swarm.sight.by_uid.get(uid)
        agent = swarm.agents.by_uid.get(uid)
        return self.agents.by_uid.get(uid) is agent and self.sight.by_uid.get(uid) is sight

    def planning(self, swarm: Swarm) -> Work[Plan]:
        statuses, now = self.statuses, time.time()
        plan = yield from self._planner.planning(swarm, now)
        return (yield from rollout.bounding(plan, swarm, statuses, now))

    def foreseeing(self, desired: Desired | None = None) -> Work[Plan]:
        """The plan for `desired`, else for the applied commit, from what was last observed.

        Raises RpcError while nothing was read.
        """
        wanted, toolchain = self._read(desired or self.desired)
        memory = Memory(self.memory, self.may_destroy, self.suspensions)
        sources = self._sources()._replace(entries=wanted.agents)
        agents = yield from joining(self.agents, sources)
        return (yield from self.planning(Swarm(wanted, memory, toolchain, agents)))

    def dry_run(self, desired: Desired | None = None) -> Plan:
        """The same at once."""
        return at_once(self.foreseeing(desired))

    def _read(self, desired: Desired | None) -> tuple[Desired, Toolchain]:
        if desired is None or self.toolchain is None:
            why = ": ".join(self.stalled) if self.stalled else "the first round is under way"
            raise RpcError(UNAVAILABLE, f"nothing was read yet: {why}")
        return desired, self.toolchain

    # -- judging ---------------------------------------------------------------------

    def judge(self, under_way: Mapping[str, Operation], broker_down_since: float | None) -> None:
        """The same as `judging` at once."""
        at_once(self.judging(under_way, broker_down_since))

    def judging(
        self, under_way: Mapping[str, Operation], broker_down_since: float | None
    ) -> Work[None]:
        """Conditions of every agent, from all that is known: anew where that changed, and each
        from what is known at the moment at which it is judged."""
        agents = self.agents
        shared = (self.stalled, self.suspended, broker_down_since, self.suspensions)
        before, judged, did = self._judged
        names = since(judged, agents.by_name)
        if shared != before:
            names |= agents.by_name.keys()
        yield
        doing = yield from self._doing(under_way)
        stirred: set[str] = set()
        for name in doing.keys() | did.keys():
            yield
            if doing.get(name) != did.get(name):
                stirred.add(name)
        for name in sorted(names | stirred | agents.timely):
            yield
            self.judge_one(name, under_way, broker_down_since)
        self._judged = (shared, agents.by_name, doing)  # what moved since is judged again

    def judge_one(
        self, name: str, under_way: Mapping[str, Operation], broker_down_since: float | None
    ) -> None:
        agent, now = self.agents.by_name.get(name), time.time()
        if agent is None:
            self.conditions.pop(name, None)
            return
        actions, blocked = self._planned()
        facts = health.Facts(
            entry=agent.entry,
            memory=agent.memory,
            seen=agent.seen,
            broker=(self.statuses or {}).get(agent.uid),
            broker_down_since=broker_down_since,
            action=actions.get(name),
            blocked=blocked.get(name),
            doing=self._said(agent, under_way),
            swarm_stalled=self.stalled,
            suspended=self._suspended(agent.uid),
            now=now,
        )
        known = self.conditions.get(name, ())
        self.conditions[name] = evolve(known, health.conditions(facts), now)
        self.events.moved(name, known, self.conditions[name], now)

    def _planned(self) -> tuple[Mapping[str, Action], Mapping[str, Blocked]]:
        """What the plan has for each agent, by name."""
        plan = self.plan
        if plan is not self._steps[0]:
            actions = {a.agent: a for a in plan.changes} if plan is not None else {}
            blocked = {b.agent: b for b in reversed(plan.blocked)} if plan is not None else {}
            self._steps = (plan, actions, blocked)
        return self._steps[1:]

    def _said(self, agent: Agent, under_way: Mapping[str, Operation]) -> tuple[str, str] | None:
        operation = under_way.get(agent.uid)
        if operation is None or self.agents.by_uid.get(agent.uid) is not agent:
            return None
        return operation.reason, operation.message

    def _doing(self, under_way: Mapping[str, Operation]) -> Work[dict[str, Doing]]:
        """Of each agent with any, by name: what is planned, what hinders it, what is under way."""
        actions, blocked = self._planned()
        found: dict[str, Doing] = {}
        for name in {*actions, *blocked}:
            yield
            found[name] = (actions.get(name), blocked.get(name), None)
        for uid, operation in tuple(under_way.items()):
            yield
            if (agent := self.agents.by_uid.get(uid)) is not None:
                action, hindrance, _ = found.get(agent.name, NOTHING)
                found[agent.name] = (action, hindrance, (operation.reason, operation.message))
        return found

    def _suspended(self, uid: str) -> tuple[str, str] | None:
        if self.suspended is not None:
            return "ShuttingDown", self.suspended
        words = self.suspensions.get(uid) or self.suspensions.get("*")
        return None if words is None else ("Suspended", words)

    def is_answering(self) -> bool:
        """Whether the harness of every container that runs is there."""
        if self.statuses is None:
            return False
        return all(self._ready.get(o.uid) for o in self.sight.all if health.is_live(o))

    def standing(self, unsettled: frozenset[str]) -> Standing | None:
        """How far the applied commit is reached; `unsettled` uids are not looked at."""
        if self.desired is None:
            return None
        agents, statuses, now = self.agents, self.statuses or {}, time.time()
        suspended = self.suspended is not None

        def stand(name: str) -> Stand:
            agent = agents.by_name.get(name)
            if agent is None or agent.valid is None or agent.uid in unsettled:
                return Stand(present=agent is not None)
            if agent.valid.spec.state == "stopped":
                return Stand(stopped=agent.seen is None or agent.seen.phase is Phase.STOPPED)
            if _is_ready(agent):
                return Stand(ready=True)
            status = statuses.get(agent.uid)
            why = health.deploy_failure(agent.valid, agent.memory, agent.seen, status, now)
            return Stand(failed=None if suspended else why)

        managers = sorted(agents.by_uid[uid].name for uid in agents.managers)
        return Standing(
            commit=self.desired.commit,
            manager=managers[0] if managers else None,
            name_of=lambda uid: agents.by_uid[uid].name if uid in agents.by_uid else None,
            stand=stand,
        )


def _is_ready(agent: Agent) -> bool:
    seen, valid = agent.seen, agent.valid
    if seen is None or valid is None or not agent.ready:
        return False
    return seen.phase is Phase.RUNNING and seen.revision == valid.revision


def _is_again(one: tuple[Observed, ...], other: tuple[Observed, ...]) -> Work[bool]:
    if len(one) != len(other):
        return False
    for now, before in zip(one, other, strict=True):
        yield
        if now is not before and now != before:
            return False
    return True


def _of_its_owner(seen: Observed, owners: Mapping[str, str], known: Set[str]) -> Observed:
    """With the uid that `owners` tell where none is read, unless that one is known elsewhere."""
    owner = owners.get(seen.name, "")
    return seen if seen.uid or owner in known else replace(seen, uid=owner)
