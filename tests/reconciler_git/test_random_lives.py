"""Random proposals, decisions and crashes: what refs say is what the service reports."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import examples

from hive_reconciler.git.decide import Decisions
from hive_reconciler.git.errors import HiveError
from hive_reconciler.git.first import FirstCommit
from hive_reconciler.git.importing import Imported
from hive_reconciler.git.inbox import Head
from hive_reconciler.git.listing import Entry
from hive_reconciler.git.repositories import Repositories, open_repositories
from hive_reconciler.git.submit import NewAgent, Submissions
from hive_reconciler.git.undo import Undo
from hive_reconciler.git.views import Views
from hive_reconciler.model.desired import Desired, Valid
from hive_reconciler.model.proposal import Requester, proposal_json
from hive_reconciler.model.swarm import HostAbilities
from hive_reconciler.model.tree import FILE
from hive_wire.paths import Layout

NAMES = ["a", "b", "c"]
USER = Requester.user("ada")
STEPS = 12  # moves on the disk, of a submission and a merge together
DAY = 86400.0


class Crash(BaseException):
    pass


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.layout = Layout.of(self.folder)
        self.ended: dict[int, str] = {}
        self.open()

    def open(self) -> None:
        self.all: Repositories = open_repositories(self.layout, FirstCommit(), HostAbilities())
        self.decisions = Decisions(self.all)
        self.submissions = Submissions(self.all, self.decisions)
        self.undo = Undo(self.all, self.decisions)
        self.views = Views(self.all, self.decisions)

    def teardown(self) -> None:
        self.all.store.repo.free()
        shutil.rmtree(self.folder)

    # -- steps -------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES))
    def spawn(self, name: str) -> None:
        self.attempt(self.submissions.spawn, USER, NewAgent(name, "x", None, None, {}))

    @rule(name=st.sampled_from(NAMES), action=st.sampled_from(["start", "stop", "restart"]))
    def power(self, name: str, action: Any) -> None:
        """No card about another agent becomes another by it."""
        before = self.cards(name)
        self.attempt(self.submissions.power, USER, name, action, "", "")
        assert self.cards(name).items() >= before.items()

    @rule(name=st.sampled_from(NAMES))
    def retire(self, name: str) -> None:
        self.attempt(self.submissions.retire, USER, name, "")

    @rule(name=st.sampled_from(NAMES))
    def revive(self, name: str) -> None:
        self.attempt(self.undo.revive, USER, name)

    @precondition(lambda self: self.count())
    @rule(data=st.data())
    def revert(self, data: st.DataObject) -> None:
        self.attempt(self.undo.revert, USER, self.any(data), "")

    @precondition(lambda self: self.count())
    @rule(data=st.data(), outcome=st.sampled_from(["denied", "withdrawn"]))
    def end(self, data: st.DataObject, outcome: Any) -> None:
        self.attempt(self.decisions.end, self.any(data), outcome, "no", "root")

    @precondition(lambda self: self.count())
    @rule(data=st.data())
    def approve(self, data: st.DataObject) -> None:
        n = self.any(data)
        effect = self.views.one(n).effect
        if effect is not None:
            self.attempt(self.decisions.approve, n, effect.digest, "root", 0)

    @rule(name=st.sampled_from(NAMES), text=st.sampled_from("xyz"), behind=st.integers(0, 3))
    def push(self, name: str, text: str, behind: int) -> None:
        """A commit on top of an older one: it merges, or needs a rebase, or changes nothing."""
        before = list(self.all.history.first_parents(self.all.history.tip()))
        base = before[min(behind, len(before) - 1)]
        with self.all.trees.scratch():
            trees, store = self.all.trees, self.all.store
            entry = Entry(FILE, trees.write_blob(f"{text}\n".encode()))
            tree = trees.put(store.tree_of(base), f"agents/{name}/prompt.md", entry)
            commit = trees.write_commit(store.commit_text(f"{text}\n", tree, (base,)))
            found = dict(trees._scratch or {})
        head = Head(f"{name}-{text}", commit, USER, 0)
        self.attempt(self.submissions.head, head, Imported(commit, tree, base, found))

    @rule(name=st.sampled_from(NAMES), behind=st.integers(1, 4))
    def roll_back(self, name: str, behind: int) -> None:
        before = list(self.all.history.first_parents(self.all.history.tip()))
        then = before[min(behind, len(before) - 1)]
        self.attempt(self.undo.rollback, USER, name, then, "")

    @rule(days=st.sampled_from([1, 40]))
    def sweep(self, days: int) -> None:
        self.attempt(self.decisions.sweep, time.time() + days * DAY)

    @precondition(lambda self: self.count())
    @rule(data=st.data())
    def deploy(self, data: st.DataObject) -> None:
        self.attempt(self.all.ledger.set_deployed, self.any(data), "ready")

    @precondition(lambda self: self.count())
    @rule(data=st.data(), step=st.integers(0, STEPS - 1))
    def approve_and_crash(self, data: st.DataObject, step: int) -> None:
        n = self.any(data)
        effect = self.views.one(n).effect
        with pytest.MonkeyPatch.context() as patch:
            real, count = os.rename, itertools.count()

            def crash(source: Path, target: Path) -> None:
                if next(count) == step:
                    raise Crash
                real(source, target)

            patch.setattr(os, "rename", crash)
            try:
                if effect is not None:
                    self.attempt(self.decisions.approve, n, effect.digest, "root", 0)
                self.attempt(self.submissions.power, USER, "a", "restart", "", "")
            except Crash:
                pass
        self.reopen()

    def cards(self, but: str) -> dict[int, tuple[bool, str | None, tuple[str, ...]]]:
        """What people see of open proposals about other agents than `but`."""
        return {
            p.n: (p.needs_rebase, p.effect and p.effect.digest, p.problems)
            for p in self.views.newest("open", 1000)
            if p.pinned.agent != but
        }

    @rule()
    def reopen(self) -> None:
        self.all.store.repo.free()
        self.open()

    @staticmethod
    def attempt(call: Any, *arguments: object) -> None:
        try:
            call(*arguments)
        except HiveError:
            pass

    def count(self) -> int:
        return len(self.all.ledger.all())

    def any(self, data: st.DataObject) -> int:
        return data.draw(st.integers(1, self.count()))

    # -- what always holds -------------------------------------------------------

    @invariant()
    def refs_say_the_same(self) -> None:
        fresh = open_repositories(self.layout, FirstCommit(), HostAbilities())
        try:
            views = Views(fresh, Decisions(fresh))
            shown = self.views.newest(None, 1000)
            assert [proposal_json(p) for p in views.newest(None, 1000)] == [
                proposal_json(p) for p in shown
            ]
            assert views.read(None) == self.views.read(None)
        finally:
            fresh.store.repo.free()
        assert [p.n for p in shown] == list(range(len(shown), 0, -1))

    @invariant()
    def each_agent_ran(self) -> None:
        for entry in self.views.read(None).agents.values():
            if isinstance(entry, Valid) and entry.spec.uid is not None:
                self.layout.agent(entry.spec.uid).mkdir(parents=True, exist_ok=True)

    @invariant()
    def an_end_is_final(self) -> None:
        for proposal in self.all.ledger.all():
            known = self.ended.get(proposal.n)
            assert known in (None, proposal.state)
            if proposal.state != "open":
                self.ended[proposal.n] = proposal.state

    @invariant()
    def the_swarm_is_sound(self) -> None:
        desired: Desired = self.views.read(None)
        specs = [e.spec for e in desired.agents.values() if isinstance(e, Valid)]
        assert len(specs) == len(desired.agents)
        assert sum(spec.role == "manager" for spec in specs) == 1
        assert len({spec.uid for spec in specs}) == len(specs)


Lives.TestCase.settings = settings(
    max_examples=examples(20),
    stateful_step_count=20,
    suppress_health_check=list(HealthCheck),
)
TestLives = pytest.mark.timeout(240)(Lives.TestCase)  # real git, twenty lives
