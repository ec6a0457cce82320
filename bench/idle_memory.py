"""Memory, and CPU time, of each process of an idle swarm whose agents have worked.

python bench/idle_memory.py [--settle SECONDS]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path

from hive import MANAGER, Process, containers, descendants, started, watching
from measure import Aim, report, table
from support.swarm import Swarm

OTHERS = 60.0  # MiB
AIMS = {"harness": 24.0, "broker": 110.0}
OURS = ("hive up", "reconciler", "broker", "gateway", "dashboard", "harness")
MODULES = {
    "hive_reconciler.app.daemon": "reconciler",
    "hive_broker": "broker",
    "hive_gateway": "gateway",
    "hive_dashboard": "dashboard",
    "hive_harness.rehearsal": "rehearsal engine",
    "hive_harness": "harness",
}


@dataclass(frozen=True)
class Memory:
    """MiB. Private is what ending the process would free. `cpu`: ms of CPU a second, idle."""

    pid: int
    process: str
    container: str
    rss: float
    pss: float
    private: float
    cpu: float


class Idle:
    """What processes use while nothing happens."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._before = {pid: cpu_of(pid) for pid in Process.all()}

    def rate(self, pid: int) -> float:
        """Milliseconds of CPU a second since the start."""
        used = cpu_of(pid) - self._before.get(pid, 0.0)
        return used / (time.monotonic() - self._since)


def cpu_of(pid: int) -> float:
    """Milliseconds of CPU that all its threads had; 0 when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(stat[11]) + int(stat[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int, process: str, container: str, idle: Idle) -> Memory:
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0]) / 1024
    private = fields["Private_Clean"] + fields["Private_Dirty"]
    return Memory(pid, process, container, fields["Rss"], fields["Pss"], private, idle.rate(pid))


def name_of(process: Process) -> str:
    for module, name in MODULES.items():
        if module in process.argv:
            return name
    return Path(process.argv[0]).name or "?"


def measure(swarm: Swarm, up: int, idle: Idle) -> list[Memory]:
    """Every process that belongs to the swarm."""
    processes = Process.all()
    found = [memory_of(up, "hive up", "", idle)]
    supervisors = containers(swarm)
    contained: set[int] = set()
    for container, supervisor in sorted(supervisors.items()):
        shim = processes[supervisor.parent]
        inside = descendants(supervisor.pid, processes)
        contained |= {shim.pid, supervisor.pid, *(p.pid for p in inside)}
        found.append(memory_of(shim.pid, "shim", container, idle))
        found.append(memory_of(supervisor.pid, "systemd-nspawn", container, idle))
        found += [memory_of(p.pid, name_of(p), container, idle) for p in inside]
    host = [p for p in descendants(up, processes) if p.pid not in contained]
    found += [memory_of(p.pid, name_of(p), "", idle) for p in host]
    return found


async def run(settle: float) -> list[Memory]:
    async with started("--rehearse", "--runtime", "nspawn") as swarm:
        async with watching(swarm) as events:
            await swarm.broker("send", to=MANAGER, body="we need a scout", by="bench")
            proposal = await swarm.open_proposal("spawn")
            digest = proposal["effect"]["digest"]
            await swarm.host("approve", n=proposal["n"], effect=digest)
            await swarm.ready("scout")
            await events.next("turn.ended", "scout")
        await asyncio.sleep(settle)
        idle = Idle()
        await asyncio.sleep(settle)
        assert swarm._up is not None
        return measure(swarm, swarm._up.pid, idle)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--settle",
        type=float,
        default=10.0,
        help="seconds of idleness before, and while CPU time is counted",
    )
    found = asyncio.run(run(options.parse_args().settle))
    rows = [(m.process, m.container, m.rss, m.pss, m.private, m.cpu) for m in found]
    aims = [
        Aim(f"{m.process} {m.container}".strip(), m.rss, AIMS.get(m.process, OTHERS), "MiB RSS")
        for m in found
        if m.process in OURS
    ]
    text = table(("process", "container", "RSS MiB", "PSS", "private", "CPU ms/s"), rows)
    report("idle_memory", [text], aims, {"processes": [vars(m) for m in found]})


if __name__ == "__main__":
    main()
