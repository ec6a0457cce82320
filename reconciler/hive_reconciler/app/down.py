"""hive down: stops everything of one root, also when `hive up` was killed."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time

from hive_wire.paths import Layout

from ..runtime.base import RuntimeFailure
from .client import UNAVAILABLE, CallFailed
from .commands.common import host, me
from .lock import holder
from .stopping import stop_containers

DEADLINE = 60.0  # seconds


def down(layout: Layout, options: argparse.Namespace) -> int:
    if not layout.root.exists():
        raise CallFailed(f"there is nothing at {layout.root}")
    stopped = _by_up(layout) or _by_reconciler(layout)
    try:
        left = asyncio.run(stop_containers(layout))
    except RuntimeFailure as error:
        raise CallFailed(error.message) from None
    if left:
        print(f"stopped {', '.join(left)}")
    print("everything is stopped" if stopped or left else "nothing was running")
    return 0


def _by_up(layout: Layout) -> bool:
    """True when `hive up` ran and has stopped everything in order."""
    pid = holder(layout.lock)
    if pid is None:
        return False
    if pid == 0:
        raise CallFailed(f"{layout.lock} is held by a process that does not say which")
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError:
        raise CallFailed(f"process {pid} belongs to another user; ask them, or use sudo") from None
    except ProcessLookupError:
        return False
    deadline = time.monotonic() + DEADLINE
    while holder(layout.lock) is not None:
        if time.monotonic() > deadline:
            raise CallFailed(f"process {pid} did not stop within {DEADLINE:.0f} s")
        time.sleep(0.05)
    return True


def _by_reconciler(layout: Layout) -> bool:
    """True when a reconciler runs without `hive up`, as a service, and has stopped its containers."""
    try:
        with host(layout) as reconciler:
            names = reconciler.call("shutdown", by=me())["stopped"]
    except CallFailed as error:
        if error.code == UNAVAILABLE:
            return False
        raise
    if names:
        print(f"stopped {', '.join(names)}")
    return True
