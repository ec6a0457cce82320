"""Every agent of the applied commit with all that is known of it.

An agent of which nothing changed stays the same object. Whatever is made of an agent (its step
of the plan, its conditions, what others are told of it) is made anew for the other objects only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, NamedTuple, TypeVar

from hive_wire.names import container_name

from ..model.desired import Entry, Valid
from ..model.layered import Layered, since
from ..model.memory import AgentMemory
from ..runtime.base import Observed, Phase
from . import recall
from .sight import Sight
from .slices import Work, at_once

FRESH = AgentMemory()  # of whom nothing is remembered
T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Agent:
    """One agent. `seen` is None when no container exists; `ready` is what the broker says."""

    name: str
    uid: str  # "" while nothing tells it
    entry: Entry
    valid: Valid | None  # what can be used: the entry, else the last good spec
    memory: AgentMemory  # with what the entry makes of it
    seen: Observed | None
    container: str
    there: Observed | None  # what lives under its container's name
    ready: bool | None
    is_in_the_way: bool = False  # it still runs under the name of another agent

    @property
    def is_timely(self) -> bool:
        """Whether time alone may change what follows from it."""
        memory, seen = self.memory, self.seen
        if memory.crashes or memory.retry_at or memory.lost_since is not None:
            return True
        if seen is None or seen.phase is not Phase.RUNNING:
            return False
        return seen.restart_key is None or self.ready is False

    @property
    def is_manager(self) -> bool:
        return self.valid is not None and self.valid.spec.role == "manager"

    def is_same(self, other: Agent) -> bool:
        """Whether both are made of the same objects."""
        return (
            self.entry is other.entry
            and self.memory is other.memory
            and self.seen is other.seen
            and self.there is other.there
            and self.ready is other.ready
            and self.uid == other.uid
            and self.is_in_the_way == other.is_in_the_way
        )


class Sources(NamedTuple):
    """What agents are joined from: by name, as seen, by uid, by uid. Never changed in place."""

    entries: Mapping[str, Entry]
    sight: Sight
    memory: Mapping[str, AgentMemory]
    ready: Mapping[str, bool]


@dataclass(frozen=True)
class Agents:
    """All of them. `by_uid` has those whose spec can be used, now or from before."""

    sources: Sources = field(default_factory=lambda: Sources({}, Sight(), {}, {}))
    by_name: Layered[str, Agent] = field(default_factory=Layered)
    by_uid: Layered[str, Agent] = field(default_factory=Layered)
    bad: frozenset[str] = frozenset()  # names whose entry cannot be used
    managers: frozenset[str] = frozenset()  # uids
    timely: frozenset[str] = frozenset()  # names
    shared: frozenset[str] = frozenset()  # uids of several names: while files are bad or moved
    strays: frozenset[str] = frozenset()  # uids with a container where no agent of theirs belongs


NOBODY = Agents()


def joined(before: Agents, sources: Sources) -> Agents:
    """The agents of `sources`. Those of `before` of which nothing changed stay."""
    if all(map(operator.is_, sources, before.sources)):
        return before
    return at_once(joining(before, sources))


def joining(before: Agents, sources: Sources) -> Work[Agents]:
    """The same as work in slices."""
    was, agents = before.sources, before.by_name
    if all(map(operator.is_, sources, was)):
        return before
    entries, sight, memory, ready = sources
    moved = since(was.memory, memory)
    yield
    uids = {*moved, *since(was.ready, ready)}
    yield
    uids |= since(was.sight.by_uid, sight.by_uid)
    yield
    names = set(since(was.entries, entries))
    yield
    for name in names:
        yield
        for container in (name, f"h-{name}"):  # whoever runs under such a name
            if (one := sight.live.get(container)) is not None:
                uids.add(one.uid)
    for uid in uids:
        yield
        if (known := before.by_uid.get(uid)) is not None:
            names.add(known.name)
    if uids & before.shared:
        names |= {name for name, agent in agents.items() if agent.uid in uids}
    if before.bad:  # their uids are only remembered
        remembered = [m for u in moved for m in (was.memory.get(u), memory.get(u)) if m]
        names |= before.bad & {m.name for m in remembered}
    yield
    moved = since(was.sight.live, sight.live)
    yield
    names |= moved | {container.removeprefix("h-") for container in moved}
    named: dict[str, str] | None = None
    fresh: dict[str, Agent] = {}
    for name in names:
        yield
        entry = entries.get(name)
        if entry is None:
            continue
        if isinstance(entry, Valid):
            uid = entry.spec.uid or ""
        else:
            named = named or {m.name: u for u, m in memory.items() if m.good is not None}
            uid = named.get(name, "")
        agent = _agent(name, uid, entry, memory.get(uid, FRESH), sight=sight, ready=ready.get(uid))
        if agent.seen is not None and agent.seen.name != agent.container:
            former = entries.get(agent.seen.name.removeprefix("h-"))
            agent = replace(agent, is_in_the_way=isinstance(former, Valid))
        old = agents.get(name)
        if old is None or not agent.is_same(old):
            fresh[name] = agent
    gone = [name for name in names if name in agents and name not in entries]
    yield
    if fresh or gone:
        return (yield from _replacing(before, sources, fresh, gone))
    strays = yield from _straying(before, sight, before.by_uid, ())
    return replace(before, sources=sources, strays=strays)


def _agent(
    name: str, uid: str, entry: Entry, memory: AgentMemory, *, sight: Sight, ready: bool | None
) -> Agent:
    valid = memory.good
    if isinstance(entry, Valid):
        valid = entry if uid else None
        memory = recall.wanted(memory, name, entry) if uid else memory
    container = container_name(name, valid.spec.role if valid is not None else "agent")
    seen, there = sight.by_uid.get(uid) if uid else None, sight.live.get(container)
    return Agent(name, uid, entry, valid, memory, seen, container, there, ready)


def _replacing(
    before: Agents, sources: Sources, fresh: Mapping[str, Agent], gone: Iterable[str]
) -> Work[Agents]:
    by_name = before.by_name.changed(fresh, gone)
    yield
    names = fresh.keys() | gone
    former: list[Agent] = []
    left: set[str] = set()
    for name in names:
        yield
        if (one := before.by_name.get(name)) is not None:
            former.append(one)
            if before.by_uid.get(one.uid) is one:
                left.add(one.uid)
    usable: dict[str, Agent] = {}
    shared = set(before.shared)
    for agent in fresh.values():
        yield
        if agent.valid is not None:
            if agent.uid in usable or (agent.uid in before.by_uid and agent.uid not in left):
                shared.add(agent.uid)
            usable[agent.uid] = agent
    yield
    uids = {agent.uid for agent in (*former, *fresh.values())}
    yield
    named: dict[str, list[Agent]] = {uid: [] for uid in shared & uids}
    for agent in by_name.values() if named else ():
        if agent.uid in named and agent.valid is not None:
            named[agent.uid].append(agent)
    for uid, bearers in named.items():
        yield
        if bearers:
            usable[uid] = min(bearers, key=lambda a: (not isinstance(a.entry, Valid), a.name))
        if len(bearers) < 2:
            shared.discard(uid)
    by_uid = before.by_uid.changed(usable, left - usable.keys())
    yield
    bad: set[str] = set()
    timely: set[str] = set()
    for name, agent in fresh.items():
        yield
        if not isinstance(agent.entry, Valid):
            bad.add(name)
        if agent.is_timely:
            timely.add(name)
    managers: set[str] = set()
    for uid in uids:
        yield
        if (bearer := by_uid.get(uid)) is not None and bearer.is_manager:
            managers.add(uid)
    strays = yield from _straying(before, sources.sight, by_uid, uids)
    yield
    return Agents(
        sources,
        by_name,
        by_uid,
        before.bad - names | bad,
        before.managers - uids | managers,
        before.timely - names | timely,
        frozenset(shared),
        strays,
    )


def _straying(
    before: Agents, sight: Sight, by_uid: Mapping[str, Agent], uids: Iterable[str]
) -> Work[frozenset[str]]:
    """Looked at again: `uids`, and those of whom something else is seen."""
    was = before.sources.sight
    uids = {*uids, *since(was.by_uid, sight.by_uid)}
    is_known = sight is was or (sight.is_plain and was.is_plain)
    yield
    seen = sight.of(uids) if is_known else sight.all
    found: set[str] = set()
    for one in seen:
        yield
        if (agent := by_uid.get(one.uid)) is None or agent.container != one.name:
            found.add(one.uid)
    return before.strays.difference(uids) | found if is_known else frozenset(found)


class Made(Generic[T]):
    """What `make` makes of each agent, by uid; the same mapping while no value in it is another."""

    def __init__(self, make: Callable[[Agent], T]) -> None:
        self._make = make
        self._of: Mapping[str, Agent] = {}
        self._made: Layered[str, T] = Layered()

    def making(self, agents: Agents) -> Work[Mapping[str, T]]:
        before, now = self._of, agents.by_name
        uids: set[str] = set()
        for name in since(before, now):
            yield
            uids |= {a.uid for a in (before.get(name), now.get(name)) if a is not None}
        yield
        news: dict[str, T] = {}
        gone: list[str] = []
        for uid in uids:
            yield
            agent, known = agents.by_uid.get(uid), self._made.get(uid)
            if agent is None:
                gone += [uid] if uid in self._made else []
            elif (new := self._make(agent)) != known:
                news[uid] = new
        self._of, self._made = now, self._made.changed(news, gone)
        return self._made
