"""What the host has left: its load, memory and the disk below the root."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """`load` of the last minute; memory and disk in bytes, the disk that of the root."""

    load: float
    used: int
    memory: int
    disk_used: int
    disk: int


def look(root: Path) -> Machine | None:
    """None where it cannot be read."""
    try:
        rows = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        memory = {row[0]: int(row[1]) << 10 for row in rows}
        disk = shutil.disk_usage(root)
        total = memory["MemTotal:"]
        used = total - memory["MemAvailable:"]
        return Machine(os.getloadavg()[0], used, total, disk.total - disk.free, disk.total)
    except (OSError, KeyError, ValueError, IndexError):
        return None
