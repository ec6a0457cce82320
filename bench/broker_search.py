"""Words in a history of a million events, beside reading the same rows once and doing nothing.

python bench/broker_search.py [EVENTS]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median

from measure import Aim, Spread, report, shuffled, table

from hive_broker.store import events
from hive_broker.store.database import open_for_writing
from hive_broker.store.search import Wanted, search

EVENTS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
AGENTS = [f"{n:012d}" for n in range(20)]
REPETITIONS = 3


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hive-bench-", dir="/var/tmp") as folder:
        path = Path(folder) / "broker.db"
        common = _fill(path)
        variants = {
            "read all rows, no search": _timed(lambda: _scan(path)),
            "absent word, all agents": _timed(lambda: _whole(path, "qqqqqqqqqq", None)),
            "absent word, one agent": _timed(lambda: _whole(path, "qqqqqqqqqq", AGENTS[3])),
            "common word, first 50": _timed(lambda: _first(path, common)),
        }
        times = asyncio.run(shuffled(variants, REPETITIONS))
    rows = [
        (name, spread.median, spread.low, spread.high)
        for name, found in times.items()
        for spread in (Spread.of(found),)
    ]
    scan = median(times["read all rows, no search"])
    ratio = median(times["absent word, all agents"]) / scan
    first = median(times["common word, first 50"]) / scan
    aims = [
        Aim("a whole search beside reading all rows", ratio, 1.5, "times"),
        Aim("the first page of a common word beside it", first, 0.05, "times"),
    ]
    head = (f"{EVENTS} events", "median ms", "low", "high")
    report("broker_search", [table(head, rows)], aims, {"rows": rows, "events": EVENTS})


def _fill(path: Path) -> str:
    """Texts of 40 words of 5,000; one of those words."""
    rng = random.Random(1)
    letters = "abcdefghijklmnoprstuvwxyz"  # no q
    words = ["".join(rng.choices(letters, k=rng.randint(3, 9))) for _ in range(5000)]

    def rows() -> Iterator[tuple[object, ...]]:
        for n in range(1, EVENTS + 1):
            text = json.dumps({"text": " ".join(rng.choices(words, k=40))})
            yield (n, AGENTS[n % 20], n // 20 + 1, "1.1", "text", 1, text, 1.0)

    db = open_for_writing(path)
    db.execute("begin")
    db.executemany("insert into event values(?,?,?,?,?,?,?,?,null)", rows())
    events.file(db, 0, EVENTS)
    db.execute("commit")
    db.close()
    return words[5]


def _timed(work: Callable[[], None]) -> Callable[[], Awaitable[float]]:
    async def run() -> float:
        began = time.perf_counter()
        await asyncio.to_thread(work)
        return time.perf_counter() - began

    return run


def _scan(path: Path) -> None:
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    db.execute("select sum(length(data)) from event").fetchone()
    db.close()


def _whole(path: Path, word: str, uid: str | None) -> None:
    """Call after call, as a page does that goes on."""
    before = EVENTS + 1
    while found := search(path, Wanted((word,), uid, None, before, 500)):
        if not found.cursor:
            return
        before = found.cursor


def _first(path: Path, word: str) -> None:
    search(path, Wanted((word,), None, None, EVENTS + 1, 50))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
