"""What people see of an agent: connected or not, its state, and why nothing moves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hive_wire.protocol import AgentStatus

from ..core.budget import Limit
from .agent import Agent, Shown
from .broker import Broker

MOST_TELLING = 16  # changes of one agent's state on their way to the disk


class Presence:
    """Works out the shown state and puts each change into the history."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def report(self, agent: Agent, shown: Shown) -> None:
        """The harness says what it does."""
        agent.reported = shown
        agent.last_seen = self._broker.clock.wall()
        self.refresh(agent)

    def refresh(self, agent: Agent) -> None:
        """Look again; a change becomes a `state` event."""
        limit = self.limit(agent)
        if limit is not None:
            self._broker.alarms.set(("limit", agent.uid), limit.until, lambda: self._eased(agent))
        shown = self._shown(agent, limit)
        if shown == agent.shown:
            return
        agent.shown, agent.since = shown, self._broker.clock.wall()
        self._tell(agent)

    def limit(self, agent: Agent) -> Limit | None:
        return agent.spending.limit(agent.record.budget, self._broker.clock.steady())

    def status(self, agent: Agent) -> dict[str, Any]:
        """As `hive_wire.protocol.AgentStatus`."""
        running = agent.mailbox.running
        return AgentStatus(
            uid=agent.uid,
            name=agent.name,
            ready=agent.ready,
            boot=agent.boot,
            state=agent.shown.state,
            since=agent.since,
            detail=agent.shown.detail,
            until=agent.shown.until,
            turn=None if running is None else running.id,
            queued=agent.mailbox.waiting,
            dead=agent.dead,
            held=agent.gate.held(self._broker.clock.steady()),
            fenced=agent.gate.fenced,
            paused=self._broker.paused(agent.uid) is not None,
            last_event=agent.last_event,
            last_seen=agent.last_seen,
        ).model_dump()

    def _tell(self, agent: Agent) -> None:
        """Put the shown state into the history. Of one that changes faster than the disk writes,
        or for long than anybody reads, what it is by then: else one agent's whims would take
        the disk from all others."""
        now = self._broker.clock.steady()
        wait = agent.tellings.missing(1, now)
        if agent.telling >= MOST_TELLING or wait:
            agent.untold = True
            if wait:
                self._broker.alarms.set(
                    ("untold", agent.uid), now + wait, lambda: self._late(agent)
                )
            return
        agent.tellings.take(1)
        shown = agent.shown
        data: dict[str, Any] = {
            "state": shown.state,
            "since": agent.since,
            "detail": shown.detail,
        }
        if shown.until is not None:
            data["until"] = shown.until
        told = self._broker.record(self._broker.event(agent.uid, "state", data))
        if told is not None:
            agent.telling += 1
            told.add_done_callback(lambda _: self._told(agent))

    def _told(self, agent: Agent) -> None:
        agent.telling -= 1
        self._late(agent)

    def _late(self, agent: Agent) -> None:
        """What could not be told before."""
        if agent.untold and not agent.telling:
            agent.untold = False
            self._tell(agent)

    def _eased(self, agent: Agent) -> None:
        if self._broker.agents.get(agent.uid) is agent:
            self.refresh(agent)

    def _shown(self, agent: Agent, limit: Limit | None) -> Shown:
        if not agent.ready:
            return Shown("offline", agent.refused)
        if agent.mailbox.running is not None:
            return agent.reported
        pause = self._broker.paused(agent.uid)
        if pause is not None:
            by, reason = pause
            return Shown("paused", f"by {by}: {reason}" if reason else f"by {by}")
        if limit is not None:
            clock = self._broker.clock
            return Shown("paused", limit.reason, round(clock.wall() + limit.until - clock.steady()))
        return self._waiting(agent)

    def _waiting(self, agent: Agent) -> Shown:
        """What the harness reports, with the time of the next attempt where one waits."""
        shown, clock = agent.reported, self._broker.clock
        again = agent.mailbox.ready_at()
        if shown.until is not None or again is None or again <= clock.steady():
            return shown
        return replace(shown, until=round(clock.wall() + again - clock.steady()))
