"""Real containers, real commits, kill -9 of reconciler, broker and supervisors. Needs root.

python bench/drill_reconcile.py [--agents 20] [--commits 50] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import asdict

from hive import started
from measure import Aim, report, table
from support.twenty import Drill, Findings


async def run(agents: int, commits: int, seed: int) -> Findings:
    async with started("--rehearse", "--runtime", "nspawn") as swarm:
        return await Drill(swarm, seed, agents, commits).run()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--agents", type=int, default=20)
    options.add_argument("--commits", type=int, default=50)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    began = time.monotonic()
    found = asyncio.run(run(given.agents, given.commits, given.seed))
    took = time.monotonic() - began
    for line in found.wrong:
        print(line)
    rows = [("agents", given.agents), ("commits", found.commits), ("jobs", found.jobs)]
    rows += [("boots after the first", found.boots), ("seconds", round(took))]
    rows += [(f"kill -9 of {what}", n) for what, n in sorted(found.kills.items())]
    aims = [
        Aim("containers doubled", len(found.doubled), 0, "of them"),
        Aim("restarts that no commit and no kill explains", len(found.needless), 0, "agents"),
        Aim("turns cut", len(found.cut), 0, "turns"),
        Aim("jobs not completed exactly once", len(found.not_once), 0, "jobs"),
        Aim("actions left in the plan", len(found.left), 0, "actions"),
    ]
    data = {"seed": given.seed, "agents": given.agents, "seconds": took, **asdict(found)}
    report("drill_reconcile", [table(("what", "count"), rows)], aims, data)


if __name__ == "__main__":
    main()
