"""What operations ask at the moment they act, and what is remembered of how they ended."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace

from hive_wire.paths import Layout

from ..model.memory import AgentMemory, Failure
from ..model.past import DONE, Outcome
from ..runtime.base import Observed, RuntimeFailure
from . import containers, recall
from .agents import FRESH
from .metrics import Metrics
from .operations import Operation, Wanted
from .picture import Picture

log = logging.getLogger(__name__)


class Acting:
    """The `World` of operations. `on_end` and `on_say` are called when there is news."""

    def __init__(
        self,
        layout: Layout,
        picture: Picture,
        metrics: Metrics,
        *,
        on_end: Callable[[], None],
        on_say: Callable[[str], None],
    ) -> None:
        self._layout = layout
        self._picture = picture
        self._metrics = metrics
        self._on_end = on_end
        self.changed = on_say
        self.settled: set[str] = set()  # whose operations ended since the last observation
        self.hurried: dict[str, str] = {}  # uid → who wants it without waiting

    def wanted(self, uid: str) -> Wanted | None:
        picture = self._picture
        agent = picture.agents.by_uid.get(uid)
        if agent is None or agent.valid is None:
            return None
        if picture.desired is None or picture.toolchain is None:
            return None
        name, valid = agent.name, agent.valid
        if picture.suspended is not None or valid.spec.state != "running":
            return None
        built = containers.build(self._layout, picture.desired, name, valid, picture.toolchain)
        return Wanted(name, valid, built)

    def container(self, uid: str) -> str | None:
        agents, seen = self._picture.agents, self._picture.seen(uid)
        if (agent := agents.by_uid.get(uid)) is not None:
            return agent.container
        is_bad = seen is not None and seen.name.removeprefix("h-") in agents.bad
        return seen.name if seen is not None and is_bad else None

    def seen(self, uid: str) -> Observed | None:
        return self._picture.seen(uid)

    def is_lost(self, uid: str) -> bool:
        return self._memory(uid).is_lost

    def started(self, uid: str, wanted: Wanted) -> None:
        memory = recall.started(self._memory(uid), wanted.valid, wanted.container.name)
        self._remember(uid, memory)

    def stopping(self, uid: str) -> None:
        self._remember(uid, recall.stopping(self._memory(uid)))

    def _memory(self, uid: str) -> AgentMemory:
        return self._picture.memory.get(uid, FRESH)

    def _remember(self, uid: str, memory: AgentMemory) -> None:
        self._picture.remember({uid: memory})

    def begun(self, operation: Operation) -> None:
        self._metrics.queued.add(time.time() - operation.since)

    def finished(self, operation: Operation, failure: RuntimeFailure | None) -> None:
        action = operation.action
        self.settled.add(action.uid)
        if failure is not None:
            self._failed(operation, failure)
        elif not operation.waits and not operation.is_cut:
            self._remember(action.uid, recall.succeeded(self._memory(action.uid)))
            self.hurried.pop(action.uid, None)
            by = operation.now_by
            at_once = f"; at once, as {by} asked" if by is not None else ""
            self._ended(operation, DONE, f"{action.reason}{at_once}")
            log.info("%s %s: done (%s)", action.kind.value, action.container, action.reason)
        self._on_end()

    def _failed(self, operation: Operation, failure: RuntimeFailure) -> None:
        action = operation.action
        log.warning("%s %s: %s", action.kind.value, action.container, failure.message)
        after = recall.failed(
            replace(self._memory(action.uid), expected=False),
            Failure(action.after or "", failure.reason, failure.message, failure.permanent),
            time.time(),
            random.uniform(0.75, 1.25),
        )
        self._remember(action.uid, after)
        self._metrics.retries += not failure.permanent
        self._metrics.timeouts += failure.reason == "Deadline"
        self._ended(operation, failure.reason, failure.message)

    def _ended(self, operation: Operation, result: str, words: str) -> None:
        action, now = operation.action, time.time()
        self._metrics.operations[action.kind.value, result] += 1
        self._metrics.worked.add(max(0.0, now - operation.since))
        outcome = Outcome(action.kind.value, action.after or "", result, words, now, now)
        self.note(action.uid, action.agent, outcome)

    def note(self, uid: str, agent: str, outcome: Outcome) -> None:
        """Among the agent's outcomes, and among the events."""
        if uid in self._picture.memory:
            self._remember(uid, recall.noted(self._memory(uid), outcome))
        words = f"{outcome.kind}: {outcome.message}"
        self._picture.events.add(agent, "Action", outcome.result, words, outcome.last)
