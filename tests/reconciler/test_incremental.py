"""What a round keeps from the last one is what it would conclude from scratch."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest
from support.plans import HIVE, NOW, TOOLS, running, uid, valid

from hive_reconciler.core import picture as picturing
from hive_reconciler.core.containers import Toolchain
from hive_reconciler.core.picture import Picture
from hive_reconciler.core.sight import Sight
from hive_reconciler.core.slices import at_once
from hive_reconciler.model.desired import Desired, Invalid, Unreadable
from hive_reconciler.model.memory import AgentMemory, Failure
from hive_reconciler.runtime.base import Phase
from hive_wire.parse import SpecProblem
from hive_wire.protocol import AgentStatus

from .test_view import AWAY

NAMES = "abcdef"
STEPS = 80
SPECS = ({}, {"restarts": 1}, {"state": "stopped"}, {"role": "manager"}, {"uid": None})
ACTS = (
    {"failure": Failure("r1", "Failed", "no", False), "retry_at": NOW + 50},
    {"failure": Failure("r1", "Never", "no", True), "retry_at": NOW + 1},
    {"crashes": (NOW,), "crash_retry_at": NOW + 90, "crashed_revision": "r1"},
    {"quarantined": True, "crashes": (NOW,) * 5},
    {"expected": True},
    {"lost_since": 1.0, "is_lost": True},
    {"start_asked": True},
)


class History:
    """One Picture through anything that a swarm goes through."""

    def __init__(self, rng):
        self.rng = rng
        self.now = NOW
        self.down_since = None
        self.picture = Picture(toolchain=TOOLS, desired=Desired("c0", HIVE, {}))
        self.want({name: valid(name) for name in NAMES})
        self.recall()
        reached = {u: replace(m, ran=m.good) for u, m in self.picture.memory.items()}
        self.picture.remember(reached)
        for _ in NAMES:
            self.observe()

    def someone(self):
        return uid(self.rng.choice(NAMES))

    # -- steps -----------------------------------------------------------------------

    def commit(self):
        name = self.rng.choice(NAMES)
        self.want({**self.picture.desired.agents, name: self.entry(name)})

    def entry(self, name):
        kind = self.rng.randrange(len(SPECS) + 2)
        if kind == len(SPECS):
            return Invalid((SpecProblem("agent.toml", 1, "state", "is wrong"),), "t")
        if kind > len(SPECS):
            return Unreadable("disk")
        made = valid(name, revision=self.rng.choice(("r1", "r2")))
        return replace(made, spec=made.spec.model_copy(update=SPECS[kind]))

    def retire(self):
        gone = self.rng.choice(NAMES)
        self.want({n: e for n, e in self.picture.desired.agents.items() if n != gone})

    def rename(self):
        agents = dict(self.picture.desired.agents)
        one, another = self.rng.sample(NAMES, 2)
        both = {n: agents.pop(n) for n in (one, another) if n in agents}
        swapped = {one: another, another: one}
        self.want(agents | {swapped[name]: entry for name, entry in both.items()})

    def want(self, agents):
        number = int(self.picture.desired.commit[1:]) + 1
        self.picture.desired = replace(self.picture.desired, commit=f"c{number}", agents=agents)

    def recall(self):
        agents = self.picture.agents.by_uid
        self.picture.remember({whose: agent.memory for whose, agent in agents.items()})

    def observe(self):
        name = self.rng.choice(NAMES)
        made = valid(name, revision=self.rng.choice(("r1", "r1", "r2")))
        seen = running(name, made, phase=self.rng.choice((Phase.RUNNING, *Phase)))
        self.picture.see((*(o for o in self.picture.observed if o.name != seen.name), seen))

    def misread(self):
        name = f"h-{self.rng.choice(NAMES)}"
        changes = (
            {"memory": self.rng.randrange(9), "age": 1.0},
            {"restart_key": None, "revision": None},
            {"uid": self.rng.choice(("", self.someone()))},
        )
        change = self.rng.choice(changes)
        observed = self.picture.observed
        self.picture.see(tuple(replace(o, **change) if o.name == name else o for o in observed))

    def vanish(self):
        gone = f"h-{self.rng.choice(NAMES)}"
        self.picture.see(tuple(o for o in self.picture.observed if o.name != gone))

    def hear(self):
        if self.picture.statuses is not None:
            whose = self.someone()
            self.picture.statuses = {**self.picture.statuses, whose: self.status(whose)}

    def status(self, whose):
        fields = {"uid": whose, "ready": self.rng.random() < 0.5, "last_seen": self.now}
        return AgentStatus.model_validate({**AWAY, **fields})

    def broker(self):
        goes = self.picture.statuses is not None and self.rng.random() < 0.3
        self.picture.statuses = None if goes else {uid(n): self.status(uid(n)) for n in NAMES}
        self.down_since = self.now if goes else None

    def act(self):
        whose = self.someone()
        known = self.picture.memory.get(whose, AgentMemory())
        self.picture.remember({whose: replace(known, **self.rng.choice(ACTS))})

    def forget(self):
        self.picture.forget({self.someone()})

    def suspend(self):
        whose = self.rng.choice(("*", self.someone()))
        others = {u: w for u, w in self.picture.suspensions.items() if u != whose}
        self.picture.suspensions = {} if self.rng.random() < 0.8 else others | {whose: "by ann"}

    def upgrade(self):
        key, problem = self.rng.choice(("t1", "t2")), self.rng.choice(("", "no CLI"))
        self.picture.toolchain = Toolchain(key, TOOLS.argv, (), (), claude_problem=problem)

    def allow(self):
        self.picture.may_destroy = frozenset(self.someone() for _ in range(self.rng.randrange(4)))
        count = self.rng.randrange(4)
        self.picture.desired = replace(self.picture.desired, allow_prune=count)

    def stall(self):
        self.picture.stalled = self.rng.choice((None, None, ("ReadFailed", "disk")))

    def wait(self):
        self.now += self.rng.choice((-100.0, 1.0, 30.0, 400.0))

    # -- what must hold --------------------------------------------------------------

    def check(self):
        kept, clock = self.picture, SimpleNamespace(time=lambda: self.now)
        fresh = Picture(
            toolchain=kept.toolchain,
            desired=kept.desired,
            observed=kept.observed,
            sight=Sight(kept.observed),
            memory=kept.memory,
            may_destroy=kept.may_destroy,
            suspensions=kept.suspensions,
            stalled=kept.stalled,
        )
        fresh.statuses = kept.statuses
        with mock.patch.object(picturing, "time", clock):
            for picture in (kept, fresh):
                picture.plan = picture.dry_run()
                picture.judge({}, self.down_since)
        assert kept.plan == fresh.plan
        assert at_once(kept.registering()) == at_once(fresh.registering())
        assert conditions(kept) == conditions(fresh)
        assert kept.agents.timely == fresh.agents.timely
        assert kept.agents.managers == fresh.agents.managers
        assert kept.standing(frozenset()).manager == fresh.standing(frozenset()).manager


def conditions(picture):
    return {
        name: [(c.type, c.status, c.reason, c.message) for c in found]
        for name, found in picture.conditions.items()
    }


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_left_of_what_was_concluded_before(seed):
    rng = random.Random(seed)
    history = History(rng)
    steps = [getattr(history, name) for name in vars(History) if not name.startswith("_")]
    steps = [s for s in steps if s.__name__ not in ("check", "entry", "someone", "status", "want")]
    history.check()
    for _ in range(STEPS):
        for step in rng.choices(steps, k=rng.randrange(1, 4)):
            step()
        history.check()
