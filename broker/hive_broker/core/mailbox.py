"""One agent's deliveries: queued, leased by a turn, attached to it, settled, returned or dead.

Pure: no I/O, and time comes in. Whatever the disk must know first is decided here,
written by the caller, and only then applied (`judge` then `apply`, `pick` then
`attach`), so that a failed write leaves memory as it was.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from .delivery import Delivery, Ending, Greeting, Pick, Turn, Verdict

MAX_COUNTED = 5
FIRST_BACKOFF = 1.0
LAST_BACKOFF = 300.0
MAX_RETRY_IN = 8 * 86400.0  # a weekly usage window and a day


class Mailbox:
    """Order is that of message ids; a returned message is in front again."""

    def __init__(
        self,
        deliveries: Iterable[Delivery] = (),
        running: Turn | None = None,
        untouched: Iterable[int] = (),
    ) -> None:
        """`untouched`: more open messages, each of which is like `Delivery(message)`."""
        found = list(deliveries)
        # None for one that is like `Delivery(message)`: a hundred thousand may wait.
        self._open: dict[int, Delivery | None] = dict.fromkeys(untouched)
        self._queue = list(self._open)  # a heap; what is no longer queued is skipped
        self._open |= {d.message: d for d in found}
        self._held_back = {d.message for d in found if d.not_before and d.attempt == 1}
        self._attached: dict[int, list[int]] = {}
        self._queue += [d.message for d in found if d.attached_to is None]
        heapq.heapify(self._queue)
        for d in found:
            if d.attached_to is not None:
                self._attached.setdefault(d.attached_to, []).append(d.message)
        if self._held_back:  # what came behind them let them go, which is not on disk
            newest = max((m for m in self._open if m not in self._held_back), default=0)
            self._let_go({m for m in self._held_back if m < newest})
        self.running = running if running is not None and self.stands(running) else None

    # -- looking ---------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Messages that no turn has yet."""
        held = sum(len(messages) for messages in self._attached.values())
        return len(self._open) - held - (self.running is not None)

    @property
    def size(self) -> int:
        """All open deliveries: waiting, leased, attached."""
        return len(self._open)

    def hops(self) -> tuple[int, ...]:
        """Of the messages that the running turn was handed, in their order."""
        if self.running is None:
            return ()
        handed = (self.running.message, *self.attached(self.running.message))
        return tuple(self._at(message).hops for message in handed)

    def holds(self, message: int) -> bool:
        """Whether it is open."""
        return message in self._open

    def waits(self, message: int) -> bool:
        """Whether it is here, and no turn has it."""
        return self._queued(message)

    def stands(self, turn: Turn) -> bool:
        """Whether this attempt is the one that is due or runs now."""
        found = self._find(turn.message)
        return found is not None and found.attached_to is None and found.attempt == turn.attempt

    def attached(self, waking: int) -> tuple[int, ...]:
        return tuple(self._attached.get(waking, ()))

    def given_in(self, turn: Turn) -> tuple[str, ...]:
        """The calls of this turn, and of no attempt before it, that handed out what is attached."""
        calls = (self._at(message).given for message in self.attached(turn.message))
        return tuple(call for call in calls if call and call.startswith(f"{turn.id}:"))

    def ready_at(self) -> float | None:
        """When the first message may be delivered (steady); None when nothing waits."""
        first = self._first()
        return None if first is None else first.not_before

    # -- delivering ------------------------------------------------------------

    def arrive(self, message: int, hops: int = 0, not_before: float = 0.0) -> None:
        """`not_before` (steady) holds it back, until one comes that nothing holds back:
        nobody waits for others' endless talk."""
        if self._held_back and not not_before:
            self._let_go(self._held_back)
        if message in self._open:
            return
        if not_before or hops:
            self._keep(Delivery(message, 1, 0, not_before, None, None, hops))
        else:
            self._open[message] = None
            heapq.heappush(self._queue, message)

    def grant(self, now: float) -> Turn | None:
        """Lease the first message to a turn, if none runs and its time has come."""
        first = self._first()
        if self.running is not None or first is None or first.not_before > now:
            return None
        heapq.heappop(self._queue)
        self.running = Turn(first.message, first.attempt)
        return self.running

    def pick(self, turn: Turn, call: str, limit: int, now: float) -> Pick:
        """What the recv named `call` hands out in `turn`. Changes nothing.

        What it handed out before under the same name is owed to it again. A message that
        was tried before, or has messages of its own, wakes its own turn, so the pick
        stops there.
        """
        waking = turn.message
        mine = self._attached.get(waking, ())
        owed = [m for m in mine if not self._handed_in(turn, m, but=call)][:limit]
        fresh: list[int] = []
        for message in self._in_order():
            if message == waking:
                continue
            delivery = self._at(message)
            own_turn = delivery.attempt > 1 or message in self._attached
            if len(owed) + len(fresh) >= limit or own_turn or delivery.not_before > now:
                break
            fresh.append(message)
        return Pick(waking, tuple(owed), tuple(fresh))

    def attach(self, pick: Pick, call: str) -> None:
        """The picked messages are the turn's now; `call` handed them out."""
        for message in pick.all:
            attached = self._at(message)._replace(attached_to=pick.waking, given=call)
            self._open[message] = attached
        if pick.fresh:
            self._attached.setdefault(pick.waking, []).extend(pick.fresh)

    def unseen(self, turn: Turn, handed: frozenset[str]) -> tuple[int, ...]:
        """Messages that calls of `turn` handed out, but the engine has the results of the
        calls `handed` only. Changes nothing."""
        return tuple(
            message
            for message in self._attached.get(turn.message, ())
            if self._handed_in(turn, message) and self._at(message).given not in handed
        )

    def owe(self, messages: Iterable[int]) -> None:
        """The engine never saw these."""
        for message in messages:
            self._open[message] = self._at(message)._replace(given=None)

    # -- terminal events -------------------------------------------------------

    def judge(self, end: Ending, now: float) -> Verdict:
        """What this terminal event does. Changes nothing; a repeated one does nothing.

        Attached messages that the engine never saw go back to the queue even when it
        ended well.
        """
        if not self.stands(end.turn):
            return Verdict(end.turn, stands=False)
        waking = self._at(end.turn.message)
        attached = self.attached(end.turn.message)
        nobody = {None, *end.unseen}
        unseen = tuple(m for m in attached if self._at(m).given in nobody)
        if end.outcome in ("ok", "cancelled"):
            seen = tuple(m for m in attached if self._at(m).given not in nobody)
            settled = (waking.message, *seen)
            return Verdict(end.turn, stands=True, settled=settled, detached=unseen)
        counted = waking.counted + end.counted
        tried = waking._replace(attempt=waking.attempt + 1, counted=counted)
        if counted >= MAX_COUNTED:
            return Verdict(end.turn, stands=True, dead=tried, detached=attached)
        delay = _delay(end, uncounted_before=waking.attempt - 1 - waking.counted)
        return Verdict(
            end.turn,
            stands=True,
            returned=tried._replace(not_before=now + delay),
            detached=attached if end.discarded else (),
            owed=() if end.discarded else unseen,
        )

    def apply(self, verdict: Verdict) -> None:
        if not verdict.stands:
            return
        waking = verdict.turn.message
        if self.running is not None and self.running.message == waking:
            self.running = None
        for message in verdict.settled:
            del self._open[message]
        if verdict.settled or verdict.detached:
            self._attached.pop(waking, None)
        if verdict.dead is not None:
            self._forget(waking)
        if verdict.returned is not None:
            self._keep(verdict.returned)
        for message in verdict.detached:
            self._keep(Delivery(message, hops=self._at(message).hops))
        self.owe(verdict.owed)

    def condemn(self, message: int) -> Verdict:
        """What it takes to make this message dead, wherever it is. Changes nothing."""
        found = self._find(message)
        if found is None:
            return Verdict(Turn(message, 1), stands=False)
        turn, attached = Turn(message, found.attempt), self.attached(message)
        return Verdict(turn, stands=True, dead=found, detached=attached)

    # -- a harness comes (back) ------------------------------------------------

    def greet(self, claimed: Turn | None, *, new_boot: bool) -> Greeting:
        """What a hello with `claimed` as its running turn means. Changes nothing."""
        leased = self.running
        if claimed is not None and self.stands(claimed):
            lost = leased if new_boot and leased not in (None, claimed) else None
            return Greeting(resume=claimed, lost=lost)
        drop = claimed is not None
        if leased is None:
            return Greeting(drop=drop)
        if new_boot:
            return Greeting(drop=drop, lost=leased)
        return Greeting(drop=drop, again=leased)

    def resume(self, turn: Turn) -> None:
        """`turn` is what runs; a lease that nobody heard of goes back untouched."""
        if self.running is not None and self.running != turn:
            heapq.heappush(self._queue, self.running.message)
        self.running = turn

    # -- people and the disk ---------------------------------------------------

    def revive(self, message: int, attempt: int) -> None:
        """A dead letter is tried again, with its failures forgiven. A person wants it now."""
        self._let_go(self._held_back)
        self._keep(Delivery(message, attempt=attempt))

    def undamp(self) -> None:
        """All that is open begins anew, as if a person had sent it."""
        self._let_go(self._held_back)
        self._open = {m: found and found._replace(hops=0) for m, found in self._open.items()}

    def open(self) -> tuple[Delivery, ...]:
        return tuple(self._at(message) for message in sorted(self._open))

    # -- inside ----------------------------------------------------------------

    def _at(self, message: int) -> Delivery:
        return self._open[message] or Delivery(message)

    def _find(self, message: int) -> Delivery | None:
        return self._at(message) if message in self._open else None

    def _forget(self, message: int) -> None:
        waking = self._at(message).attached_to
        del self._open[message]
        if waking is not None:
            self._attached[waking].remove(message)

    def _let_go(self, messages: set[int]) -> None:
        """What of these was held back on its way here, and was not tried yet, may go."""
        for message in messages:
            found = self._find(message)
            if found is not None and found.attempt == 1:
                self._open[message] = found._replace(not_before=0.0)
        self._held_back = self._held_back - messages

    def _keep(self, delivery: Delivery) -> None:
        self._open[delivery.message] = delivery
        if delivery.not_before and delivery.attempt == 1:
            self._held_back.add(delivery.message)
        if delivery.attached_to is None:
            heapq.heappush(self._queue, delivery.message)
        else:
            self._attached.setdefault(delivery.attached_to, []).append(delivery.message)

    def _handed_in(self, turn: Turn, message: int, *, but: str = "") -> bool:
        """Whether a call of `turn` other than `but` handed this attached message out."""
        given = self._at(message).given
        return given is not None and given != but and given.startswith(f"{turn.id}:")

    def _queued(self, message: int) -> bool:
        found = self._find(message)
        leased = self.running is not None and self.running.message == message
        return found is not None and found.attached_to is None and not leased

    def _first(self) -> Delivery | None:
        while self._queue and not self._queued(self._queue[0]):
            heapq.heappop(self._queue)
        return self._at(self._queue[0]) if self._queue else None

    def _in_order(self) -> Iterable[int]:
        """Queued messages, oldest first. The heap is put in order once and stays a heap."""
        self._queue = sorted({m for m in self._queue if self._queued(m)})
        return iter(self._queue)


def _delay(end: Ending, *, uncounted_before: int) -> float:
    if end.retry_in is not None:
        return min(max(end.retry_in, 0.0), MAX_RETRY_IN)
    if end.counted:
        return 0.0
    return min(FIRST_BACKOFF * 2.0 ** min(uncounted_before, 16), LAST_BACKOFF)
