"""The power goes right before and right after every sync of a broker's life: what is there then?

Needs a C compiler. python bench/broker_power.py
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from measure import Aim, report, table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support import power_cut
from support.power_life import traced_life


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hive-bench-", dir="/var/tmp") as scratch:
        ops = asyncio.run(traced_life(Path(scratch)))
    found = power_cut.replay(ops)
    rows = [
        ("syncs", found.boundaries),
        ("power cuts", found.cuts),
        ("messages acknowledged at the end", found.most_promised),
        ("emptied the log", sum(op.kind == "S" and op.file == "broker.db" for op in ops)),
    ]
    aims = [Aim("cuts that broke a promise or the file", len(found.wrong), 0, "cuts")]
    report("broker_power", [table(("what", "count"), rows)], aims, {"found": asdict(found)})


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
