"""The power goes right before and right after every sync of hive.git's first life, in which it is
packed twice: what is there?

Needs a C compiler. python bench/git_power.py [--most 40]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from measure import Aim, report, table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import power_git


def main(most: int | None, seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="hive-bench-", dir="/var/tmp") as scratch:
        ops = power_git.traced_life(Path(scratch))
    found = power_git.replay(ops, most, seed)
    rows = [
        ("syncs", found.boundaries),
        ("power cuts", found.cuts),
        ("proposals at the end", len(found.promised)),
    ]
    aims = [Aim("cuts that broke a promise or the repository", len(found.wrong), 0, "cuts")]
    report("git_power", [table(("what", "count"), rows)], aims, {"found": asdict(found)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, help="syncs to cut at; without it all of them")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    main(options.most, options.seed)
