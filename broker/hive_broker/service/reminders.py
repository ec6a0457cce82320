"""Messages that an agent sends to itself at a time, or again and again."""

from __future__ import annotations

from hive_wire.jsonrpc import BUSY, REFUSED, RpcError

from ..core.reminders import MOST, Reminder
from ..store import changes
from ..store.rows import Unit
from .agent import Agent
from .broker import Broker
from .deliveries import Deliveries
from .post import Along


class Reminders:
    """All of them are in memory. What came due while the broker was away rings once."""

    def __init__(self, broker: Broker, deliveries: Deliveries) -> None:
        self._broker = broker
        self._deliveries = deliveries
        for reminder in broker.reminders.values():
            self._arm(reminder)

    def check_room(self, agent: Agent) -> None:
        """Raises RpcError(BUSY) when the agent has as many as it may have."""
        if sum(r.uid == agent.uid for r in self._broker.reminders.values()) >= MOST:
            raise RpcError(BUSY, f"you have {MOST} reminders; cancel one with cancel_reminder")

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

        def then(_: object) -> None:
            self._forget(ident)
            along.then()

        unit = Unit(events=along.events, changes=(changes.drop_reminder(ident), *along.changes))
        await self._broker.writer.submit(unit, then)

    def _arm(self, reminder: Reminder) -> None:
        when = self._broker.clock.steady_at(reminder.due)
        self._broker.alarms.set(
            ("reminder", reminder.id),
            when,
            lambda: self._broker.spawn_until_stored(lambda: self._ring(reminder.id)),
        )

    def _forget(self, ident: int) -> None:
        self._broker.reminders.pop(ident, None)
        self._broker.alarms.cancel(("reminder", ident))

    async def _ring(self, ident: int) -> None:
        """The message and the reminder's next time are stored together."""
        reminder = self._broker.reminders.get(ident)
        if reminder is None:
            return
        left = reminder.after(self._broker.clock.wall())
        data = {"id": ident, "every": reminder.every}
        message = self._broker.system_message(reminder.uid, "reminder", reminder.body, data)

        def then(_: object) -> None:
            if left is None:
                self._forget(ident)
            else:
                self._broker.reminders[ident] = left
                self._arm(left)
            self._deliveries.arrived(message)

        change = changes.drop_reminder(ident) if left is None else changes.set_reminder(left)
        await self._broker.writer.submit(Unit(messages=(message,), changes=(change,)), then)
