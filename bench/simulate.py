"""Many random lives of a swarm under the real core. A failing seed replays exactly:

python bench/simulate.py [--count 100000] [--first 0]    or    --first SEED --count 1
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from measure import RESULTS
from support.simulation import simulate

CHUNK = 50
SAY_EVERY = 1000  # lives


def chunk(first: int) -> list[tuple[int, str]]:
    """(seed, what broke) of each life that broke an invariant."""
    logging.disable(logging.CRITICAL)
    gc.disable()  # lives are short: one collection between chunks costs less
    gc.collect()
    found = []
    for seed in range(first, first + CHUNK):
        try:
            simulate(seed)
        except AssertionError as error:
            found.append((seed, str(error)))
        except Exception as error:  # noqa: BLE001 - the simulator broke: as bad, and told alike
            found.append((seed, repr(error)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if options.count == 1:
        for line in simulate(options.first):
            print(*line)
        return 0
    start = time.monotonic()
    firsts = range(options.first, options.first + options.count, CHUNK)
    broken: list[tuple[int, str]] = []
    with ProcessPoolExecutor() as pool:
        for done, part in enumerate(pool.map(chunk, firsts), 1):
            broken += part
            for seed, words in part:
                print(f"  {seed}: {words}", flush=True)
            if done % (SAY_EVERY // CHUNK) == 0:
                print(f"{done * CHUNK} lives, {len(broken)} broke an invariant", flush=True)
    seconds = time.monotonic() - start
    lives = len(firsts) * CHUNK
    print(f"{lives} lives in {seconds:.0f} s, {len(broken)} broke an invariant")
    RESULTS.mkdir(exist_ok=True)
    result = {"lives": lives, "first": options.first, "seconds": seconds, "broken": broken}
    (RESULTS / "simulate.json").write_text(json.dumps(result, indent=2) + "\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
