"""hive-c0re: the reconciler's process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import grp
import logging
import os
import signal
import sys
from collections.abc import Sequence

from hive_wire.jsonrpc import Peer
from hive_wire.lock import Taken, alone
from hive_wire.paths import Layout, UnsafeDirectory
from hive_wire.sockets import listen

from ..core.builds import BUILDS, Builds
from ..core.files import HIVE_GROUP, Owners, make_run
from ..core.inbox import Inbox
from ..core.loop import Reconciler
from ..core.pauses import keep_short
from ..core.purge import finish
from ..core.toolchain import ToolchainFinder, of_nixos
from ..git.errors import HiveError
from ..git.first import FirstCommit
from ..git.hive import Hive
from ..git.housekeeping import keep_small
from ..runtime.base import Runtime, RuntimeFailure
from ..runtime.choose import Wish, choose
from ..runtime.nix_eval import evaluator
from ..runtime.toolchain import compile_harness
from .host_api import HostApi
from .requests_api import RequestsApi
from .stopping import record

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM; containers go on. Exit status 1 with one clear line on errors."""
    parser = argparse.ArgumentParser(prog="hive-c0re", description=__doc__)
    parser.add_argument("--root", help="where everything is kept")
    parser.add_argument("--runtime", default="auto", choices=("auto", "nixos", "nspawn", "process"))
    parser.add_argument(
        "--rehearse", action="store_true", help="a new root starts with the rehearsal engine"
    )
    options = parser.parse_args(argv)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        asyncio.run(_serve(Layout.of(options.root), options.runtime, options.rehearse))
    except (HiveError, RuntimeFailure, UnsafeDirectory, Taken, OSError) as error:
        print(f"hive-c0re: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(layout: Layout, wish: Wish, rehearse: bool) -> None:
    owners = Owners.of(layout)
    make_run(layout, owners)
    layout.reconciler.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.make_logs()
    layout.rehearsal.mkdir(exist_ok=True)
    keep_short()
    with alone(layout.reconciler, "reconciler", layout.root):
        runtime = await asyncio.to_thread(choose, wish, layout)
        record(layout, runtime.name)
        first = FirstCommit(engine="rehearsal" if rehearse else "claude")
        hive = await Hive.open(
            layout,
            runtime_reads_nix=runtime.name == "nixos",
            networks=runtime.networks,
            first=first,
        )
        try:
            await _run(layout, owners, hive, runtime)
        finally:
            await hive.close()


async def _run(layout: Layout, owners: Owners, hive: Hive, runtime: Runtime) -> None:
    def changed() -> None:
        host.changed("agents")

    def moved() -> None:
        host.moved()

    reconciler = Reconciler(
        layout,
        owners,
        hive,
        runtime=runtime,
        find_toolchain=of_nixos if runtime.name == "nixos" else ToolchainFinder(),
        on_change=changed,
    )
    nix = evaluator(layout, runtime.name)
    builds = Builds(hive, nix, layout.reconciler / BUILDS, moved)
    host = HostApi(reconciler, builds)
    requests = RequestsApi(reconciler, builds, host.moved)
    inbox = Inbox(hive, layout.inbox_git, host.moved)
    host_server = await listen(
        layout.host_sock, lambda: Peer(host.handlers(), on_close=host.closed), mode=0o660
    )
    requests_server = await listen(layout.requests_sock, lambda: Peer(requests.handlers()))
    if not layout.tag:
        _give_to_group(layout)
    if runtime.name != "nixos":
        await asyncio.to_thread(compile_harness)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(reconciler.broker.run()),
            tasks.create_task(reconciler.gateway.run()),
            tasks.create_task(reconciler.run()),
            tasks.create_task(inbox.run()),
            tasks.create_task(keep_small(layout.hive_git, layout.inbox_git)),
            tasks.create_task(asyncio.to_thread(_finish_purges, layout)),
            tasks.create_task(builds.run()),
        ]
        await stop.wait()
        log.info("stopping; containers go on")
        for task in running:
            task.cancel()
    host_server.close()
    requests_server.close()


def _finish_purges(layout: Layout) -> None:
    try:
        finish(layout)
    except OSError as error:
        log.warning("of a purge something is left: %s", error)


def _give_to_group(layout: Layout) -> None:
    """The system service's host.sock is for people of the group hive."""
    with contextlib.suppress(KeyError):
        os.chown(layout.host_sock, 0, grp.getgrnam(HIVE_GROUP).gr_gid)


if __name__ == "__main__":
    sys.exit(main())
