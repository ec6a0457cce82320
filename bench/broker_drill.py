"""Ten minutes of kill -9 of senders, harnesses and the broker, with a ledger outside.

python bench/broker_drill.py [--minutes 10]
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

from support.broker_drill import Drill, Findings
from support.broker_rig import rig


async def run(minutes: float) -> Findings:
    with tempfile.TemporaryDirectory(prefix="hive-bench-", dir="/var/tmp") as scratch:
        async with rig(Path(scratch) / "root") as hive:
            return await Drill(hive, Path(scratch) / "drill").run(minutes * 60)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10)
    minutes = options.parse_args().minutes
    found = asyncio.run(run(minutes))
    done = [
        ("minutes", minutes),
        ("broker killed", found.broker_kills),
        ("harnesses killed", found.harness_kills),
        ("senders killed", found.sender_kills),
        ("messages acknowledged", found.acknowledged),
        ("turns ended", found.turns),
    ]
    aims = [
        Aim("lost", len(found.lost), 0, "messages"),
        Aim("stored twice", len(found.stored_twice), 0, "messages"),
        Aim("completed twice", len(found.completed_twice), 0, "messages"),
        Aim("never completed", len(found.unfinished), 0, "messages"),
        Aim("out of order", len(found.out_of_order), 0, "messages"),
    ]
    report("broker_drill", [table(("what", "count"), done)], aims, {"findings": asdict(found)})


if __name__ == "__main__":
    main()
