"""A change that all agents share is taken over a few at a time, and stops where it breaks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hive_reconciler.core import planner, recall
from hive_reconciler.core.containers import Toolchain, restart_key
from hive_reconciler.core.rollout import COMES_BACK, FAILURES, SHARE, bounded
from hive_reconciler.model.desired import Desired, Valid
from hive_reconciler.model.memory import AgentMemory, Failure, Memory
from hive_reconciler.model.plan import Blocked, Kind, Plan
from hive_reconciler.runtime.base import Observed, Phase
from hive_wire.hivetoml import HiveToml
from hive_wire.names import container_name
from hive_wire.protocol import AgentStatus
from hive_wire.spec import AgentSpec

OLD, NEW = Toolchain("old", ("x",), (), ()), Toolchain("new", ("x",), (), ())
HIVE = HiveToml.model_validate({"schema": 1})
NOW = 1_000_000.0


@dataclass(frozen=True)
class One:
    """An agent: what its container has taken over, and how it is."""

    name: str
    new: bool = False
    phase: Phase = Phase.RUNNING
    ready: bool = True
    busy: bool = False
    failed: bool = False
    crashed: bool = False
    changed: bool = False  # its own directory, by a merge
    manager: bool = False
    age: float = 1000.0

    @property
    def uid(self) -> str:
        return self.name.ljust(12, "z")

    @property
    def ran(self) -> Valid:
        role = "manager" if self.manager else "agent"
        revision = "r2" if self.new else "r1"
        return Valid(AgentSpec(uid=self.uid, role=role), "", revision, f"t{self.name}")

    @property
    def wanted(self) -> Valid:
        tree = f"changed-{self.name}" if self.changed else self.ran.tree
        return replace(self.ran, revision="r2", tree=tree)

    def observed(self) -> Observed:
        return Observed(
            name=container_name(self.name, self.ran.spec.role),
            uid=self.uid,
            phase=self.phase,
            revision=self.ran.revision,
            restart_key=restart_key(self.name, self.ran.spec, NEW if self.new else OLD),
            started=NOW - self.age,
            exit_status=None,
            memory=1,
            tasks=9,
        )

    def memory(self) -> AgentMemory:
        memory = AgentMemory(good=self.wanted, ran=self.ran, name=self.name, expected=True)
        if self.failed:
            failure = Failure("r2", "BuildFailed", "no", permanent=False)
            memory = recall.failed(memory, failure, NOW - 1000, 1.0)
        if self.crashed:
            memory = replace(memory, crashes=(NOW - 99,), crashed_revision="r2")
        return memory

    def status(self) -> AgentStatus:
        return AgentStatus.model_validate(
            {
                **dict.fromkeys(("boot", "until", "last_seen")),
                **dict.fromkeys(("since", "queued", "dead", "last_event"), 0),
                **dict.fromkeys(("held", "fenced", "paused"), False),
                "uid": self.uid,
                "name": self.name,
                "ready": self.ready,
                "detail": "",
                "state": "idle",
                "turn": "1.1" if self.busy else None,
            }
        )


def plans(agents: list[One], *, away: bool = False) -> tuple[Plan, Plan]:
    """The plan before and after the bound."""
    desired = Desired("c" * 40, HIVE, {one.name: one.wanted for one in agents})
    observed = [one.observed() for one in agents]
    memory = Memory({one.uid: one.memory() for one in agents})
    statuses: Mapping[str, AgentStatus] | None
    statuses = None if away else {one.uid: one.status() for one in agents}
    whole = planner.plan(desired, observed, memory, NEW, NOW)
    swarm = planner.Swarm.of(desired, observed, memory, NEW)
    return whole, bounded(whole, swarm, statuses, NOW)


def chosen(agents: list[One]) -> list[str]:
    return [action.agent for action in plans(agents)[1].changes]


def reasons(agents: list[One]) -> dict[str, str]:
    return {b.agent: b.reason for b in plans(agents)[1].blocked}


def swarm(count: int) -> list[One]:
    return [One(f"a{n}") for n in range(count)]


def test_a_fifth_of_the_swarm_at_once_and_one_at_least() -> None:
    assert len(chosen(swarm(20))) == 4
    assert chosen(swarm(3)) == ["a0"]
    assert set(reasons(swarm(3)).values()) == {"RolloutQueued"}


def test_idle_ones_first_and_the_manager_last() -> None:
    agents = [One("hm1nd", manager=True), One("a", busy=True), One("b"), One("c", new=True)]
    assert chosen(agents) == ["b"]
    assert chosen([replace(one, new=one.name in "bc") for one in agents]) == ["a"]
    assert chosen([replace(one, new=one.name != "hm1nd") for one in agents]) == ["hm1nd"]


def test_the_next_one_waits_for_the_hello_of_the_last() -> None:
    young = One("a0", new=True, ready=False, age=5.0)
    assert chosen([young, *swarm(3)[1:]]) == []
    assert chosen([replace(young, ready=True), *swarm(3)[1:]]) == ["a1"]


@pytest.mark.parametrize(
    "bad",
    [
        One("a0", new=True, ready=False, age=COMES_BACK + 1),
        One("a0", new=True, crashed=True),
        One("a0", failed=True),
    ],
)
def test_it_stops_at_the_first_failures(bad: One) -> None:
    agents = [bad, *swarm(3)[1:]]
    retried = ["a0"] if bad.failed else []
    assert chosen(agents) == retried
    held = {b.agent: b for b in plans(agents)[1].blocked if b.reason == "RolloutHeld"}
    assert set(held) == {"a1", "a2"}
    assert "because of a0" in held["a1"].message
    assert "hive restart" in held["a1"].message


def test_a_larger_swarm_bears_one_failure_and_not_two() -> None:
    agents = [One("a0", new=True, crashed=True), *swarm(20)[1:]]
    assert len(chosen(agents)) == 3
    agents[1] = One("a1", failed=True)
    assert chosen(agents) == ["a1"]


def test_one_that_waits_for_something_else_takes_no_place() -> None:
    agents = swarm(3)
    gone = [one.observed() for one in agents[1:]]
    desired = Desired("c" * 40, HIVE, {one.name: one.wanted for one in agents})
    memory = Memory({one.uid: one.memory() for one in agents})
    statuses = {one.uid: one.status() for one in agents}
    whole = planner.plan(desired, gone, memory, NEW, NOW)
    known = planner.Swarm.of(desired, gone, memory, NEW)
    waits = Blocked("a0", agents[0].uid, "NameTaken", "another has its name")
    starts = [action for action in whole.actions if action.agent == "a0"]
    assert [action.kind for action in starts] == [Kind.CREATE]
    for blocked, started in (((waits,), ["a1"]), ((), ["a0"])):
        actions = tuple(a for a in whole.actions if a not in starts or not blocked)
        plan = replace(whole, actions=actions, blocked=blocked)
        found = bounded(plan, known, statuses, NOW)
        assert [action.agent for action in found.actions] == started


def test_while_the_broker_is_away_nobody_is_known_to_be_well() -> None:
    agents = [One("a0", new=True), *swarm(3)[1:]]
    assert plans(agents, away=True)[1].changes == ()


def test_what_a_merge_asked_for_never_waits() -> None:
    agents = [One("a0", new=True, crashed=True), *(replace(o, changed=True) for o in swarm(9)[1:])]
    assert len(chosen(agents)) == 8


ONES = st.builds(
    One,
    name=st.just(""),
    new=st.booleans(),
    phase=st.sampled_from([Phase.RUNNING, Phase.RUNNING, Phase.STARTING, Phase.STOPPED]),
    ready=st.booleans(),
    busy=st.booleans(),
    failed=st.booleans(),
    crashed=st.booleans(),
    changed=st.booleans(),
    age=st.sampled_from([5.0, 1000.0]),
)


@given(st.lists(ONES, max_size=25), st.booleans())
def test_whatever_the_swarm(ones: list[One], away: bool) -> None:
    agents = [replace(one, name=f"a{n}", manager=n == 0) for n, one in enumerate(ones)]
    before, after = plans(agents, away=away)
    assert (before, after) == plans(agents, away=away), "pure"
    by_name = {one.name: one for one in agents}
    assert set(after.actions) <= set(before.actions)
    dropped = {action.agent for action in before.actions} - {a.agent for a in after.actions}
    told = {b.agent for b in after.blocked} - {b.agent for b in before.blocked}
    assert dropped == told, "who waits is told why"
    for name in dropped:
        one = by_name[name]
        assert one.phase is Phase.RUNNING and not one.changed and not one.failed
    shared = [
        by_name[action.agent]
        for action in after.actions
        if action.kind in (Kind.UPDATE, Kind.RESTART) and not by_name[action.agent].changed
    ]
    fresh = [one for one in shared if not one.failed and not one.crashed]
    slots = max(1, int(len(agents) * SHARE))
    assert len(fresh) <= slots
    sick = [one for one in agents if one.failed or one.crashed]
    if len(sick) >= min(FAILURES, slots):
        assert not fresh
    quiet = [by_name[name] for name in dropped if not by_name[name].manager]
    if any(one.busy for one in fresh) and not away:
        assert all(one.busy for one in quiet), "idle ones first"


@given(st.integers(1, 25), st.integers(0, 24))
def test_it_gets_everybody_there_and_a_bad_one_stops_it(count: int, bad: int) -> None:
    """Rounds in which what is chosen comes back at once; those from number `bad` on crash."""
    agents = swarm(count)
    for _ in range(count + 1):
        picked = chosen(agents)
        agents = [
            replace(one, new=True, crashed=int(one.name[1:]) >= bad) if one.name in picked else one
            for one in agents
        ]
    slots = max(1, int(count * SHARE))
    broken = [one for one in agents if one.crashed]
    if bad >= count:
        assert all(one.new for one in agents)
    else:
        assert 1 <= len(broken) <= max(slots, FAILURES)
