"""What every bench shares: shuffled repetitions, medians, a table, a file of results."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Aim:
    """One thing that was promised: `value` is at most `limit`, or at least, in the same unit."""

    what: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Spread:
    """Milliseconds of one variant."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        ms = sorted(s * 1000 for s in seconds)
        return cls(statistics.median(ms), ms[0], ms[-1], len(ms))


async def shuffled(
    variants: Mapping[str, Callable[[], Awaitable[float]]], repetitions: int, seed: int = 1
) -> dict[str, list[float]]:
    """Seconds that each variant returned. One warm-up each, then all in random order, so that
    what else the machine does falls on every variant alike."""
    for run in variants.values():
        await run()
    order = [name for name in variants for _ in range(repetitions)]
    random.Random(seed).shuffle(order)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for name in order:
        times[name].append(await variants[name]())
    return times


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of text; numbers to the right."""
    cells = [[_cell(c) for c in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    numeric = [
        all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(head))
    ]
    lines = [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join((lines[0], "  ".join("-" * width for width in widths), *lines[1:]))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def report(name: str, tables: Sequence[str], aims: Sequence[Aim], data: Mapping[str, Any]) -> None:
    """Print the tables and whether the aims were met; write all of it as JSON."""
    for text in tables:
        print(text, end="\n\n")
    for aim in aims:
        verdict = "met" if aim.met else "MISSED"
        bound = "at least " if aim.at_least else ""
        print(
            f"{aim.what}: {aim.value:.2f} {aim.unit}, aim {bound}{aim.limit:g} {aim.unit}: {verdict}"
        )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    result = {
        "bench": name,
        "at": time.time(),
        "machine": machine(),
        "aims": [{**asdict(aim), "met": aim.met} for aim in aims],
        **data,
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {path}")


def machine() -> dict[str, object]:
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
