"""The delivery state machine against a model of the disk, with crashes anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hive_broker.core.delivery import Delivery, Ending, Turn, Verdict
from hive_broker.core.mailbox import MAX_COUNTED, Mailbox


@dataclass
class Disk:
    """What the store holds of one agent: written at each commit, read after a crash."""

    open: dict[int, Delivery] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)
    dead: dict[int, Delivery] = field(default_factory=dict)
    running: Turn | None = None

    def close(self, verdict: Verdict) -> None:
        if not verdict.stands:
            return
        waking = verdict.turn.message
        if self.running is not None and self.running.message == waking:
            self.running = None
        for message in verdict.settled:
            del self.open[message]
            self.settled.append(message)
        if verdict.dead is not None:
            del self.open[waking]
            self.dead[waking] = verdict.dead
        if verdict.returned is not None:
            self.open[waking] = verdict.returned
        for message in verdict.detached:
            self.open[message] = Delivery(message, hops=self.open[message].hops)
        for message in verdict.owed:
            self.open[message] = self.open[message]._replace(given=None)

    def mailbox(self) -> Mailbox:
        untouched = [m for m, found in self.open.items() if found == Delivery(m)]
        others = [found for m, found in self.open.items() if found != Delivery(m)]
        return Mailbox(others, self.running, untouched)


class Deliveries(RuleBasedStateMachine):
    """The harness is played, too: it knows what it was granted and what it was handed."""

    @initialize()
    def begin(self) -> None:
        self.now = 1000.0
        self.disk = Disk()
        self.box = self.disk.mailbox()
        self.sent: list[int] = []
        self.first_granted: list[int] = []
        self.at_work: Turn | None = None  # as the harness believes
        self.handed: set[int] = set()  # by recv, in the turn at work
        self.ended: list[Ending] = []
        self.calls = 0
        self.seen: set[int] = set()  # by the engine, in some turn
        self.damaged: set[int] = set()

    # -- senders -----------------------------------------------------------------

    @rule(count=st.integers(1, 4))
    def send(self, count: int) -> None:
        for _ in range(count):
            message = len(self.sent) + 1
            self.sent.append(message)
            self.disk.open[message] = Delivery(message)
            self.box.arrive(message)
            self._let_go()

    @rule(seconds=st.floats(1, 300))
    def send_from_afar(self, seconds: float) -> None:
        """Held back, and let go when one comes that nothing holds back."""
        message = len(self.sent) + 1
        self.sent.append(message)
        self.box.arrive(message, 25, self.now + seconds)
        self.disk.open[message] = Delivery(message, hops=25, not_before=self.now + seconds)

    @precondition(lambda self: self.disk.open)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """A message on disk is not what was written: it is dead, wherever it is."""
        message = data.draw(st.sampled_from(sorted(self.disk.open)))
        verdict = self.box.condemn(message)
        assert verdict.stands
        self.damaged.add(message)
        self.handed -= {message, *verdict.detached}
        self.disk.close(verdict)
        self.box.apply(verdict)
        if self.at_work is not None and self.at_work.message == message:
            self.at_work = None

    @rule(seconds=st.sampled_from([0.5, 3.0, 400.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds

    # -- the harness ---------------------------------------------------------------

    @precondition(lambda self: self.at_work is None)
    @rule()
    def grant(self) -> None:
        due = min((m for m, d in self.disk.open.items() if d.attached_to is None), default=None)
        before = self.box.running
        turn = self.box.grant(self.now)
        if before is not None or due is None or self.disk.open[due].not_before > self.now:
            assert turn is None
            return
        assert turn == Turn(due, self.disk.open[due].attempt), "the oldest one first"
        before_others = turn.message not in self.damaged  # a person let the others go first
        if turn.attempt == 1 and turn.message not in self.first_granted and before_others:
            self.first_granted.append(turn.message)
        self.at_work, self.handed = turn, set()
        self.disk.running = turn

    @precondition(lambda self: self.at_work is not None)
    @rule(limit=st.integers(1, 3))
    def recv(self, limit: int) -> None:
        assert self.at_work is not None
        if not self.box.stands(self.at_work):
            return
        self.calls += 1
        call = f"{self.at_work.id}:{self.calls}"
        pick = self.box.pick(self.at_work, call, limit, self.now)
        assert len(pick.all) <= limit
        assert not self.handed & set(pick.all), "nothing twice in one turn"
        self.seen |= set(pick.all)
        for message in pick.all:
            found = self.disk.open[message]
            self.disk.open[message] = found._replace(attached_to=pick.waking, given=call)
        self.box.attach(pick, call)
        self.handed |= set(pick.all)

    @precondition(lambda self: self.at_work is not None)
    @rule(
        outcome=st.sampled_from(["ok", "cancelled", "failed", "failed", "failed"]),
        counted=st.booleans(),
        discarded=st.booleans(),
        retry_in=st.sampled_from([None, None, 0.0, 50.0]),
        times=st.integers(1, 2),
        lost=st.booleans(),
    )
    def end(
        self,
        outcome: str,
        counted: bool,
        discarded: bool,
        retry_in: float | None,
        times: int,
        lost: bool,
    ) -> None:
        """Perhaps the engine never had what its last recv gave."""
        assert self.at_work is not None
        unseen = frozenset({f"{self.at_work.id}:{self.calls}"} if lost else ())
        self.seen -= {m for m, found in self.disk.open.items() if found.given in unseen}
        end = Ending(self.at_work, outcome, counted, retry_in, discarded, unseen)
        self.ended.append(end)
        for _ in range(times):
            self._close(end)
        self.at_work = None

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def end_again(self, data: st.DataObject) -> None:
        end = data.draw(st.sampled_from(self.ended))
        assert not self.box.judge(end, self.now).stands

    @rule(new_boot=st.booleans(), forgets=st.booleans(), unheard=st.booleans())
    def hello(self, new_boot: bool, forgets: bool, unheard: bool) -> None:
        """The harness comes back, perhaps as another process, perhaps without its spool,
        perhaps before it heard what its last recv gave."""
        claimed = None if forgets and new_boot else self.at_work
        greeting = self.box.greet(claimed, new_boot=new_boot)
        if greeting.lost is not None:
            self._close(Ending(greeting.lost, "failed"))
        if greeting.resume is not None:
            assert greeting.resume == claimed
            calls = {f"{greeting.resume.id}:{n}" for n in range(self.calls + (not unheard))}
            unseen = self.box.unseen(greeting.resume, frozenset(calls))
            self.box.owe(unseen)
            for message in unseen:
                self.disk.open[message] = self.disk.open[message]._replace(given=None)
            self.handed -= set(unseen)
            self.seen -= set(unseen)
            self.box.resume(greeting.resume)
            self.disk.running = greeting.resume
            self.at_work = greeting.resume
        elif greeting.again is not None:
            self.at_work, self.handed = (
                greeting.again,
                set(self.box.attached(greeting.again.message)),
            )
        else:
            self.at_work = None

    # -- the broker ----------------------------------------------------------------

    @rule(lease_was_written=st.booleans())
    def crash(self, lease_was_written: bool) -> None:
        if not lease_was_written:
            self.disk.running = None
        self.box = self.disk.mailbox()

    @precondition(lambda self: self.disk.dead)
    @rule()
    def retry_dead(self) -> None:
        message, dead = self.disk.dead.popitem()
        self.disk.open[message] = Delivery(message, attempt=dead.attempt)
        self.box.revive(message, dead.attempt)
        self._let_go()

    def _let_go(self) -> None:
        for message, found in self.disk.open.items():
            if found.attempt == 1 and found.not_before:
                self.disk.open[message] = found._replace(not_before=0.0)

    def _close(self, end: Ending) -> None:
        verdict = self.box.judge(end, self.now)
        self.disk.close(verdict)
        self.box.apply(verdict)

    # -- what must hold --------------------------------------------------------------

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert sorted([*self.disk.open, *self.disk.settled, *self.disk.dead]) == self.sent

    @invariant()
    def nothing_is_settled_unseen(self) -> None:
        woken = {end.turn.message for end in self.ended}
        assert set(self.disk.settled) <= self.seen | woken

    @invariant()
    def memory_is_what_the_disk_says(self) -> None:
        assert {d.message: d for d in self.box.open()} == self.disk.open

    @invariant()
    def counted_failures_are_bounded(self) -> None:
        assert all(d.counted < MAX_COUNTED for d in self.disk.open.values())
        dead = self.disk.dead.items()
        assert all(d.counted == MAX_COUNTED for m, d in dead if m not in self.damaged)

    @invariant()
    def first_attempts_keep_the_order(self) -> None:
        assert self.first_granted == sorted(self.first_granted)

    @invariant()
    def the_numbers_add_up(self) -> None:
        attached = sum(d.attached_to is not None for d in self.disk.open.values())
        leased = self.box.running is not None
        assert self.box.waiting == len(self.disk.open) - attached - leased
        assert self.box.size == len(self.disk.open)


Deliveries.TestCase.settings = settings(stateful_step_count=40)
TestDeliveries = pytest.mark.timeout(240)(Deliveries.TestCase)


def failed(box: Mailbox, now: float, **other: object) -> Verdict:
    turn = box.grant(now)
    assert turn is not None
    verdict = box.judge(Ending(turn, "failed", **other), now)  # type: ignore[arg-type]
    box.apply(verdict)
    return verdict


def test_uncounted_failures_wait_longer_and_longer_and_never_die():
    box, now, waits = Mailbox([Delivery(1)]), 0.0, []
    for _ in range(12):
        verdict = failed(box, now)
        assert verdict.returned is not None
        waits.append(verdict.returned.not_before - now)
        assert box.grant(verdict.returned.not_before - 0.01) is None
        now = verdict.returned.not_before
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_the_fifth_counted_failure_is_the_last():
    box = Mailbox([Delivery(1), Delivery(2)])
    verdicts = [failed(box, 0.0, counted=True) for _ in range(5)]
    assert [v.dead is not None for v in verdicts] == [False] * 4 + [True]
    assert box.grant(0.0) == Turn(2, 1)


def test_a_retry_time_is_honoured_but_not_for_ever():
    box = Mailbox([Delivery(1)])
    verdict = failed(box, 0.0, retry_in=3600.0)
    assert verdict.returned is not None
    assert verdict.returned.not_before == 3600.0
    verdict = box.judge(Ending(Turn(1, 2), "failed", retry_in=1e12), 3600.0)
    assert verdict.returned is not None
    assert verdict.returned.not_before < 3600.0 + 9 * 86400


def test_what_recv_gave_comes_first_when_the_turn_is_tried_again():
    box = Mailbox([Delivery(n) for n in (1, 2, 3, 4)])
    box.grant(0.0)
    box.attach(box.pick(Turn(1, 1), "1.1:1", 2, 0.0), "1.1:1")
    box.apply(box.judge(Ending(Turn(1, 1), "failed", counted=True), 0.0))
    box.grant(0.0)
    assert box.pick(Turn(1, 2), "1.2:1", 3, 0.0).all == (2, 3, 4)
    box.apply(box.judge(Ending(Turn(1, 2), "ok"), 0.0))
    assert [d.message for d in box.open()] == [4]


def test_a_discarded_session_gives_back_what_recv_took():
    box = Mailbox([Delivery(n) for n in (1, 2, 3)])
    box.grant(0.0)
    box.attach(box.pick(Turn(1, 1), "1.1:1", 1, 0.0), "1.1:1")
    verdict = box.judge(Ending(Turn(1, 1), "failed", counted=True, discarded=True), 0.0)
    box.apply(verdict)
    assert verdict.detached == (2,)
    assert [(d.message, d.attached_to) for d in box.open()] == [(1, None), (2, None), (3, None)]


def test_a_call_whose_answer_was_not_handed_on_gets_the_same_again():
    box = Mailbox([Delivery(n) for n in (1, 2, 3)])
    box.grant(0.0)
    box.attach(box.pick(Turn(1, 1), "1.1:1", 1, 0.0), "1.1:1")
    assert box.pick(Turn(1, 1), "1.1:1", 1, 0.0).all == (2,)  # the same call, repeated
    assert box.pick(Turn(1, 1), "1.1:2", 1, 0.0).all == (3,)
    assert box.unseen(Turn(1, 1), frozenset({"1.1:1"})) == ()
    unseen = box.unseen(Turn(1, 1), frozenset())
    box.owe(unseen)
    assert unseen == box.pick(Turn(1, 1), "1.1:2", 1, 0.0).all == (2,)


def test_what_the_engine_never_saw_is_not_settled_with_the_turn():
    box = Mailbox([Delivery(n) for n in (1, 2, 3)])
    box.grant(0.0)
    box.attach(box.pick(Turn(1, 1), "1.1:1", 1, 0.0), "1.1:1")
    box.attach(box.pick(Turn(1, 1), "1.1:2", 1, 0.0), "1.1:2")
    box.owe(box.unseen(Turn(1, 1), frozenset({"1.1:1"})))
    verdict = box.judge(Ending(Turn(1, 1), "ok"), 0.0)
    assert (verdict.settled, verdict.detached) == ((1, 2), (3,))
    box.apply(verdict)
    assert box.grant(0.0) == Turn(3, 1)


@pytest.mark.parametrize("text", ["1.1", "9007199254740993.12"])
def test_turn_ids_read_back(text: str):
    assert Turn.parse(text).id == text


def test_what_was_let_go_before_a_restart_holds_up_nobody_after_it():
    """On disk its wait stands still; the message that let it go came behind it."""
    held = [Delivery(n, not_before=300.0, hops=30) for n in (5, 7)]
    box = Mailbox(held, untouched=[6])
    assert box.grant(0.0) == Turn(5, 1)
    box.apply(box.judge(Ending(Turn(5, 1), "ok"), 0.0))
    assert box.grant(0.0) == Turn(6, 1)
    box.apply(box.judge(Ending(Turn(6, 1), "ok"), 0.0))
    assert box.grant(0.0) is None
    assert box.ready_at() == 300.0


def test_a_dead_letter_that_a_person_retries_waits_behind_nothing_held_back():
    box = Mailbox([Delivery(1, not_before=300.0, hops=30)])
    box.revive(2, 6)
    assert box.grant(0.0) == Turn(1, 1)
