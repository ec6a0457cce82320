"""What every test gets: no blocking call on an event loop of ours, no state between runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings
from support.examples import QUICK, examples

# Slowness is the machine's: each test has its time limit.
slow_machine = [HealthCheck.too_slow]
settings.register_profile(
    "hive",
    max_examples=examples(100),
    database=None,
    deadline=None,
    suppress_health_check=slow_machine,
    derandomize="CI"
    in os.environ,  # as hypothesis itself does: a red run has a cause in the change
)
settings.load_profile("hive")

OURS = [
    "hive_wire",
    "hive_broker",
    "hive_gateway",
    "hive_harness",
    "hive_reconciler",
    "hive_dashboard",
]
# Metadata of local files: microseconds, and a thread hop costs more.
CHEAP = (
    "os.stat",
    "os.mkdir",
    "os.unlink",
    "os.remove",
    "os.rename",
    "os.replace",
    "os.rmdir",
    "os.listdir",
    "os.scandir",
    "os.link",
    "os.symlink",
    "os.readlink",
    "os.access",
    "os.path.abspath",
    "os.getcwd",
    "os.statvfs",
    "os.sendfile",
)


MEMORY = "/dev/shm"


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Short, unlike pytest's own: a socket's path has 107 bytes at most. A quick check does not
    wait for the disk, but where containers are made."""
    containers = request.node.get_closest_marker("root")
    in_memory = QUICK and not containers and os.access(MEMORY, os.W_OK)
    path = Path(tempfile.mkdtemp(prefix="ht-", dir=MEMORY if in_memory else None))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_blocks_the_loop() -> Iterator[None]:
    """A sleep, a socket, SQLite or a lock that blocks inside a running loop raises."""
    with blockbuster_ctx(scanned_modules=OURS) as detector:
        for name in CHEAP:
            if name in detector.functions:
                detector.functions[name].deactivate()
        yield
