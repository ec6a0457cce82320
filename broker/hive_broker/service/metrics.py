"""The broker's figures in the text format of Prometheus, version 0.0.4."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .agent import Agent
from .broker import Broker
from .conditions import Conditions
from .retention import Retention

_OF_AGENTS: tuple[tuple[str, str, Callable[[Agent], float]], ...] = (
    ("queued_messages", "Messages that no turn has yet", lambda a: a.mailbox.waiting),
    ("open_messages", "Messages that are not settled", lambda a: a.mailbox.size),
    ("dead_letters", "Messages that were given up", lambda a: a.dead),
    ("turn_running", "1 while a turn runs", lambda a: float(a.mailbox.running is not None)),
    ("harness_ready", "1 while the harness is connected", lambda a: float(a.ready)),
)


@dataclass(frozen=True, slots=True)
class _Family:
    """`samples`: what stands behind the name, and the value."""

    name: str
    kind: str
    help: str
    samples: tuple[tuple[str, float], ...]


class Metrics:
    def __init__(self, broker: Broker, conditions: Conditions, retention: Retention) -> None:
        self._broker = broker
        self._conditions = conditions
        self._retention = retention

    def lines(self) -> list[str]:
        """One exposition. An agent's name cannot hold what would end a label."""
        lines: list[str] = []
        for family in (*self._counters(), *self._gauges(), *self._agents()):
            name = f"hive_broker_{family.name}"
            lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
            lines += [f"{name}{behind} {value:.12g}" for behind, value in family.samples]
        return lines

    def _counters(self) -> Iterator[_Family]:
        counts = self._broker.writer.counts
        for name, words, value in (
            ("messages_total", "Messages stored since the start", counts.messages),
            ("refused_writes_total", "Writes that the disk refused", counts.refused),
            ("deleted_total", "Old rows and messages deleted", self._retention.deleted),
            (
                "subscribers_dropped_total",
                "Subscribers that did not read",
                self._broker.history.dropped,
            ),
        ):
            yield _Family(name, "counter", words, (("", value),))
        samples = (("_sum", counts.seconds), ("_count", counts.commits))
        yield _Family("commit_seconds", "summary", "Transactions, with their fsync", samples)

    def _gauges(self) -> Iterator[_Family]:
        broker = self._broker
        for name, words, value in (
            ("questions_open", "Questions that wait for a person", len(broker.questions)),
            ("writes_waiting", "Writes that wait for the disk", broker.writer.pending),
            ("last_event", "Id of the newest event", broker.history.last),
            ("subscribers", "Subscriptions to events", broker.history.subscribers),
            ("database_bytes", "The database and its log", _bytes(broker.path)),
        ):
            yield _Family(name, "gauge", words, (("", value),))
        conditions = self._conditions.listed()
        samples = tuple((f'{{type="{c["type"]}"}}', 1.0) for c in conditions)
        yield _Family("condition", "gauge", "1 for each thing that is wrong now", samples)

    def _agents(self) -> Iterable[_Family]:
        agents = sorted(self._broker.agents.values(), key=lambda agent: agent.name)
        for name, words, of in _OF_AGENTS:
            samples = tuple((f'{{agent="{agent.name}"}}', of(agent)) for agent in agents)
            yield _Family(name, "gauge", words, samples)


def _bytes(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
