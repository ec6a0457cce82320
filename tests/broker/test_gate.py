"""Hold and fence against a model: loops that compete, expiry, new boots, crashes of the broker."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hive_broker.core.gate import LONGEST_HOLD, Gate, Refused

OWNERS = st.sampled_from(["loop", "backup", "an older loop"])


class Gates(RuleBasedStateMachine):
    """`owner` and `until` are what the model believes; `fenced` is what the disk holds."""

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.gate = Gate()
        self.owner: str | None = None
        self.until = 0.0
        self.fenced = False
        self.running = False

    def live(self) -> str | None:
        return self.owner if self.until > self.now else None

    @rule(seconds=st.sampled_from([0.1, 10.0, 59.0, 61.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    @rule(owner=OWNERS, ttl=st.floats(0.1, 600))
    def hold(self, owner: str, ttl: float) -> None:
        try:
            self.gate.hold(owner, ttl, self.now)
        except Refused:
            assert self.live() not in (None, owner), "refused only while another's is live"
            return
        assert self.live() in (None, owner), "no hold is taken away from its owner"
        self.owner, self.until = owner, self.now + min(ttl, LONGEST_HOLD)

    @rule(owner=OWNERS)
    def release(self, owner: str) -> None:
        self.gate.release(owner)
        if owner == self.owner:
            self.owner, self.until = None, 0.0

    @rule()
    def a_turn_starts_or_ends(self) -> None:
        if self.running or not (self.gate.held(self.now) or self.gate.fenced):
            self.running = not self.running

    @rule(owner=OWNERS)
    def fence(self, owner: str) -> None:
        try:
            self.gate.check_fence(owner, self.now, busy=self.running)
        except Refused:
            assert self.live() != owner or self.running
            return
        assert self.live() == owner
        assert not self.running, "nothing is stopped in the middle of a turn"
        self.gate.fenced = self.fenced = True

    @rule()
    def unfence(self) -> None:
        self.gate.fenced = self.fenced = False

    @rule()
    def new_boot(self) -> None:
        self.gate.new_boot()
        self.owner, self.until, self.fenced, self.running = None, 0.0, False, False

    @rule()
    def crash(self) -> None:
        self.gate = Gate(fenced=self.fenced)
        self.owner, self.until = None, 0.0

    @invariant()
    def it_is_as_the_model_has_it(self) -> None:
        assert self.gate.held(self.now) == (self.live() is not None)
        assert self.gate.fenced == self.fenced

    @invariant()
    def no_turn_runs_behind_a_fence(self) -> None:
        assert not (self.fenced and self.running)

    @invariant()
    def every_hold_ends(self) -> None:
        until = self.gate.held_until()
        assert until is None or until <= self.now + LONGEST_HOLD


Gates.TestCase.settings = settings(stateful_step_count=40)
TestGates = pytest.mark.timeout(240)(Gates.TestCase)
