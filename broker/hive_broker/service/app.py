"""The services put together over one broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .bodies import Bodies
from .broker import Broker
from .conditions import Conditions
from .dead import DeadLetters
from .deliveries import Deliveries
from .exports import Exports
from .health import Health
from .limits import Limits
from .logins import Logins
from .metering import Metering
from .metrics import Metrics
from .post import Post
from .presence import Presence
from .questions import Questions
from .receiving import Receiving
from .registry import Registrar
from .reminders import Reminders
from .requests import Requests
from .retention import Retention
from .snapshot import Snapshot
from .stops import Stops
from .turns import Turns


class App:
    def __init__(self, broker: Broker, requests_sock: Path) -> None:
        self.broker = broker
        self.bodies = Bodies(broker.reader)
        self.presence = Presence(broker)
        self.deliveries = Deliveries(broker, self.presence, self.bodies)
        self.conditions = Conditions(broker)
        self.health = Health(broker, self.deliveries, self.conditions)
        self.questions = Questions(broker, self.deliveries)
        self.turns = Turns(
            broker,
            self.presence,
            self.bodies,
            self.deliveries,
            questions=self.questions,
            health=self.health,
        )
        self.receiving = Receiving(broker, self.bodies, self.health)
        self.stops = Stops(broker, self.presence, self.deliveries)
        self.limits = Limits(broker, self.deliveries, self.conditions)
        self.post = Post(broker, self.deliveries, self.limits)
        self.reminders = Reminders(broker, self.deliveries)
        self.dead = DeadLetters(broker, self.deliveries)
        self.retention = Retention(broker, self.conditions)
        self.snapshot = Snapshot(broker)
        self.metrics = Metrics(broker, self.conditions, self.retention)
        self.metering = Metering(broker, self.presence)
        self.registrar = Registrar(
            broker,
            self.presence,
            self.deliveries,
            questions=self.questions,
            reminders=self.reminders,
        )
        self.exports = Exports()
        self.logins = Logins(broker)
        self.requests = Requests(requests_sock)

    def status(self) -> dict[str, Any]:
        """As docs/protocol.md, `status`."""
        agents = self.broker.agents.values()
        counted = self.health.messages
        return {
            "epoch": self.broker.epoch,
            "messages": None if counted is None else counted + self.broker.writer.counts.messages,
            "open": sum(agent.mailbox.size for agent in agents),
            "dead": sum(agent.dead for agent in agents),
            "agents": len(agents),
            "synchronous": "full",
            "conditions": self.conditions.listed(),
        }
