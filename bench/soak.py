"""Hundreds of turns of the real CLI under faults of the model's API and kill -9 of everything.

The faults: 4xx, 429, 5xx, 529, cut, broken and failing streams. The killed: CLI, harness,
container, broker, gateway. Needs root (nspawn).
python bench/soak.py [--turns 500] [--seed 1] [--faults 0.08] [--every 12] [--cli 2.1.197]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import asdict

from hive import started
from measure import Aim, report, table
from support.claude_cli import OLDEST, VERSION, claude_cli
from support.fake_messages_api import FakeApi
from support.soak import Findings, Model, Soak

# MiB of resident memory, at most ever, of one process
MEMORY = {"harness": 24.0, "broker": 110.0, "gateway": 60.0, "engine": 700.0}


async def run(
    version: str, turns: int, seed: int, faults: float, every: int, agents: int
) -> Findings:
    cli = await asyncio.to_thread(claude_cli, version)
    model = Model(seed, faults)
    async with FakeApi(model) as api:
        environment = {
            "HIVE_CLAUDE": str(cli),
            "ANTHROPIC_BASE_URL": await api.serve_tcp(),
            "ANTHROPIC_API_KEY": "dummy",
        }
        async with started("--runtime", "nspawn", env=environment) as swarm:
            soak = Soak(swarm, api, model, seed, turns, every, agents)
            return await soak.run(timeout=60 + turns * 20)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--turns", type=int, default=500, help="messages to give")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--faults", type=float, default=0.08, help="share of faulty answers")
    options.add_argument("--every", type=int, default=12, help="answers between kills")
    options.add_argument("--agents", type=int, default=3)
    options.add_argument("--cli", choices=(OLDEST, VERSION), default=VERSION, help="its version")
    given = options.parse_args()
    found = asyncio.run(
        run(given.cli, given.turns, given.seed, given.faults, given.every, given.agents)
    )
    rows: list[tuple[str, object]] = [
        ("messages", found.jobs),
        ("turns, with those that were tried again", found.attempts),
        ("seconds", found.seconds),
        *((f"killed: {what}", n) for what, n in sorted(found.kills.items())),
        *((f"fault: {what}", n) for what, n in sorted(found.faults.items())),
        ("tokens served without a fault", found.undoubted),
        ("tokens served at most", found.served),
        ("tokens counted by the gateway", found.metered),
        ("tokens claimed by the harnesses", found.claimed),
        ("tokens that kills may have cut", found.excusable),
    ]
    aims = [
        Aim("messages without exactly one completed turn and answer", len(found.not_once), 0, ""),
        Aim("counts of tokens that disagree with the ledger", len(found.costs_wrong), 0, ""),
        Aim("processes leaked", len(found.leaked) + len(found.stayed), 0, ""),
        *(
            Aim(f"most memory of the {what}", mebibytes, MEMORY[what], "MiB RSS")
            for what, mebibytes in sorted(found.peaks.items())
        ),
    ]
    for line in found.wrong:
        print(line, file=sys.stderr)
    report("soak", [table(("what", "count"), rows)], aims, {"findings": asdict(found)})


if __name__ == "__main__":
    main()
