"""hive down: stops everything of one root, also when `hive up` was killed."""

from __future__ import annotations

import argparse
import asyncio
import os
import select
import signal

from hive_wire.lock import holder
from hive_wire.paths import Layout
from hive_wire.rpc_errors import UNAVAILABLE

from ..runtime.base import RuntimeFailure
from .client import CallFailed, Client
from .commands.common import me
from .stopping import stop_containers

DEADLINE = 60.0  # seconds
SHUTDOWN_DEADLINE = 40.0


def down(layout: Layout, options: argparse.Namespace) -> int:
    if not layout.root.exists():
        raise CallFailed(f"there is no swarm at {layout.root}; name its root with --root")
    up = _up_to_stop(layout)
    stopped = _by_reconciler(layout) or up is not None
    if up is not None:
        _end(up)
    try:
        left = asyncio.run(stop_containers(layout))
    except RuntimeFailure as error:
        raise CallFailed(error.message) from None
    if left:
        print(f"stopped {', '.join(left)}")
    print("everything is stopped" if stopped or left else "nothing was running")
    return 0


def _up_to_stop(layout: Layout) -> int | None:
    """The process of `hive up`, if one runs. Raises CallFailed when the caller may not end it."""
    pid = holder(layout.lock)
    if pid == 0:
        raise CallFailed(f"{layout.lock} is held by a process that does not say which")
    if pid is not None and not _signal(pid, 0):
        return None
    return pid


def _by_reconciler(layout: Layout) -> bool:
    """True when a reconciler runs: it stops its containers in the name of the caller. What it
    cannot stop is tried again without it."""
    try:
        with Client(layout, "reconciler", SHUTDOWN_DEADLINE) as reconciler:
            names = reconciler.call("shutdown", by=me())["stopped"]
    except CallFailed as error:
        if error.code == UNAVAILABLE:
            return False
        print(f"the reconciler did not stop everything: {error}")
        return True
    if names:
        print(f"stopped {', '.join(names)}")
    return True


def _end(pid: int) -> None:
    """End `hive up` and with it all processes of this root. Returns when it is gone."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        _signal(pid, signal.SIGTERM)
        ended, _, _ = select.select([process], [], [], DEADLINE)
    finally:
        os.close(process)
    if not ended:
        raise CallFailed(f"process {pid} did not stop within {DEADLINE:.0f} s")


def _signal(pid: int, number: int) -> bool:
    """False when that process is gone. Raises CallFailed."""
    try:
        os.kill(pid, number)
    except PermissionError:
        raise CallFailed(f"process {pid} belongs to another user; ask them, or use sudo") from None
    except ProcessLookupError:
        return False
    return True
