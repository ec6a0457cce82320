"""Figures of the loop as text for Prometheus, with names after controller-runtime."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

from .gate import Gate
from .operations import Operation
from .picture import Picture

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)  # seconds
NAME = '{name="agents"}'


class Histogram:
    """Seconds, in BUCKETS."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, labels: str = "") -> Iterable[str]:
        prefix = f"{labels}," if labels else ""
        total = 0
        for bound, count in zip((*BUCKETS, math.inf), self._counts, strict=True):
            total += count
            le = "+Inf" if bound == math.inf else f"{bound:g}"
            yield f'{name}_bucket{{{prefix}le="{le}"}} {total}'
        braces = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{braces} {self._sum:.6f}"
        yield f"{name}_count{braces} {total}"


class Metrics:
    """Counted by the loop and its operations."""

    def __init__(self) -> None:
        self.rounds: Counter[str] = Counter()  # by result: success, unchanged, error
        self.panics = 0
        self.round_time = Histogram()
        self.operations: Counter[tuple[str, str]] = Counter()  # by kind and result
        self.adds = 0
        self.retries = 0
        self.terminal = 0
        self.timeouts = 0
        self.queued = Histogram()  # from planned to begun
        self.worked = Histogram()  # from begun to done

    def text(
        self, picture: Picture, under_way: Mapping[str, Operation], gates: Mapping[str, Gate]
    ) -> str:
        """All of it, in the text format 0.0.4."""
        now = time.time()
        begun = [now - o.since for o in under_way.values() if not o.waits]
        lines = [
            *_family("hive_reconcile_total", "counter", "rounds of the loop by result"),
            *(f'hive_reconcile_total{{result="{r}"}} {n}' for r, n in sorted(self.rounds.items())),
            *_family("hive_reconcile_errors_total", "counter", "rounds that concluded nothing"),
            f"hive_reconcile_errors_total {self.rounds['error']}",
            *_family("hive_reconcile_panics_total", "counter", "rounds that broke off"),
            f"hive_reconcile_panics_total {self.panics}",
            *_family("hive_reconcile_terminal_errors_total", "counter", "failures for good"),
            f"hive_reconcile_terminal_errors_total {self.terminal}",
            *_family("hive_reconcile_timeouts_total", "counter", "deadlines that were hit"),
            f"hive_reconcile_timeouts_total {self.timeouts}",
            *_family("hive_reconcile_time_seconds", "histogram", "length of a round"),
            *self.round_time.lines("hive_reconcile_time_seconds"),
            *_family("hive_reconcile_actions_total", "counter", "ended actions"),
            *(
                f'hive_reconcile_actions_total{{kind="{kind}",result="{result}"}} {n}'
                for (kind, result), n in sorted(self.operations.items())
            ),
            *_family("hive_reconcile_active_workers", "gauge", "inside, by what it costs"),
            *(f'hive_reconcile_active_workers{{cost="{c}"}} {g.inside}' for c, g in gates.items()),
            *_family("hive_reconcile_max_concurrent_reconciles", "gauge", "allowed at once"),
            *(
                f'hive_reconcile_max_concurrent_reconciles{{cost="{c}"}} {g.size}'
                for c, g in gates.items()
            ),
            *_family("workqueue_depth", "gauge", "actions that wait"),
            f"workqueue_depth{NAME} {sum(o.waits for o in under_way.values())}",
            *_family("workqueue_adds_total", "counter", "actions that were queued"),
            f"workqueue_adds_total{NAME} {self.adds}",
            *_family("workqueue_retries_total", "counter", "actions that failed and come again"),
            f"workqueue_retries_total{NAME} {self.retries}",
            *_family("workqueue_queue_duration_seconds", "histogram", "planned to begun"),
            *self.queued.lines("workqueue_queue_duration_seconds", 'name="agents"'),
            *_family("workqueue_work_duration_seconds", "histogram", "begun to done"),
            *self.worked.lines("workqueue_work_duration_seconds", 'name="agents"'),
            *_family("workqueue_unfinished_work_seconds", "gauge", "age of all that is begun"),
            f"workqueue_unfinished_work_seconds{NAME} {sum(begun):.3f}",
            *_family("workqueue_longest_running_processor_seconds", "gauge", "age of the oldest"),
            f"workqueue_longest_running_processor_seconds{NAME} {max(begun, default=0.0):.3f}",
            *_family("hive_reconcile_agents", "gauge", "agents by condition"),
            *_conditions(picture),
            *_family("hive_reconcile_stalled", "gauge", "1 while nothing can be concluded"),
            f"hive_reconcile_stalled {int(picture.stalled is not None)}",
            *_family(
                "hive_reconcile_last_round_timestamp_seconds", "gauge", "of the last whole round"
            ),
            f"hive_reconcile_last_round_timestamp_seconds {picture.at:.3f}",
        ]
        return "\n".join(lines) + "\n"


def _conditions(picture: Picture) -> Iterable[str]:
    found = Counter(
        (c.type.value, c.status, c.reason) for cs in picture.conditions.values() for c in cs
    )
    for (type_, status, reason), count in sorted(found.items()):
        labels = f'condition="{type_}",status="{status}",reason="{reason}"'
        yield f"hive_reconcile_agents{{{labels}}} {count}"


def _family(name: str, kind: str, words: str) -> tuple[str, str]:
    return f"# HELP {name} {words}", f"# TYPE {name} {kind}"
