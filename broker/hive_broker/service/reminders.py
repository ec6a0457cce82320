"""Messages that an agent sends to itself at a time, or again and again."""

from __future__ import annotations

from hive_wire.rpc_errors import BUSY, REFUSED, RpcError

from ..core.reminders import MOST, MOST_BYTES, Reminder
from ..store import changes
from ..store.rows import Unit
from .agent import Agent
from .broker import Broker
from .deliveries import Deliveries
from .post import Along


class Reminders:
    """All of them are in memory. What came due while the broker was away rings once; so does
    what comes due while its last message still waits, or its agent is retired."""

    def __init__(self, broker: Broker, deliveries: Deliveries) -> None:
        self._broker = broker
        self._deliveries = deliveries
        self._rung: dict[int, int] = {}  # the last message of each
        for reminder in broker.reminders.values():
            self._arm(reminder)

    def arm_all(self, uid: str) -> None:
        """The agent is back."""
        for reminder in self._broker.reminders.values():
            if reminder.uid == uid:
                self._arm(reminder)

    def check_room(self, agent: Agent, body: str) -> None:
        """Raises RpcError(BUSY) when the agent has as many as it may have, or as long ones."""
        mine = [r for r in self._broker.reminders.values() if r.uid == agent.uid]
        if len(mine) >= MOST:
            raise RpcError(BUSY, f"you have {MOST} reminders; cancel one with cancel_reminder")
        if sum(len(r.body.encode()) for r in mine) + len(body.encode()) > MOST_BYTES:
            raise RpcError(
                BUSY,
                f"your reminders would have over {MOST_BYTES >> 10} KiB of text; cancel one with "
                "cancel_reminder, or put what is long into a file and say where",
            )

    async def add(self, reminder: Reminder, along: Along) -> None:
        def then(_: object) -> None:
            self._broker.reminders[reminder.id] = reminder
            self._arm(reminder)
            along.then()

        unit = Unit(events=along.events, changes=(changes.set_reminder(reminder), *along.changes))
        await self._broker.writer.submit(unit, then)

    async def cancel(self, agent: Agent, ident: int, along: Along) -> None:
        """Raises RpcError(REFUSED) when it is not one of the agent's."""
        found = self._broker.reminders.get(ident)
        if found is None or found.uid != agent.uid:
            mine = [r.id for r in self._broker.reminders.values() if r.uid == agent.uid]
            listed = ", ".join(map(str, mine)) or "none"
            raise RpcError(REFUSED, f"you have no reminder {ident}; you have: {listed}")

        self._forget(ident)  # at once: one that rings meanwhile would be back
        unit = Unit(events=along.events, changes=(changes.drop_reminder(ident), *along.changes))
        try:
            await self._broker.writer.submit(unit, lambda _: along.then())
        except RpcError:
            self._move(found)
            raise

    def _arm(self, reminder: Reminder) -> None:
        def ring() -> None:
            self._broker.spawn_until_stored(lambda: self._ring(reminder.id))

        alarm = ("reminder", reminder.id)
        if reminder.dated:
            self._broker.alarms.set_dated(alarm, reminder.due, ring)
        else:
            self._broker.alarms.set(alarm, self._broker.clock.steady_at(reminder.due), ring)

    def _forget(self, ident: int) -> None:
        self._broker.reminders.pop(ident, None)
        self._rung.pop(ident, None)
        self._broker.alarms.cancel(("reminder", ident))

    def _move(self, reminder: Reminder) -> None:
        self._broker.reminders[reminder.id] = reminder
        self._arm(reminder)

    async def _ring(self, ident: int) -> None:
        """The message and the reminder's next time are stored together."""
        reminder = self._broker.reminders.get(ident)
        agent = None if reminder is None else self._broker.agents.get(reminder.uid)
        if reminder is None or agent is None:
            return
        left = reminder.after(self._broker.clock.wall())
        if left is not None and agent.mailbox.waits(self._rung.get(ident, 0)):
            self._move(left)
            return
        data = {"id": ident, "every": reminder.every}
        message = self._broker.system_message(reminder.uid, "reminder", reminder.body, data)

        def then(_: object) -> None:
            if left is None:
                self._forget(ident)
            elif ident in self._broker.reminders:  # else it was cancelled meanwhile
                self._move(left)
                self._rung[ident] = message.id
            self._deliveries.arrived(message)

        change = changes.drop_reminder(ident) if left is None else changes.set_reminder(left)
        await self._broker.writer.submit(Unit(messages=(message,), changes=(change,)), then)
