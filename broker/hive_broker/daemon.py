"""The process: serves one root until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from hive_wire.lock import Taken
from hive_wire.paths import Layout, UnsafeDirectory

from .server import serving
from .store.database import DatabaseRefused

# A message costs some ten objects that live until it is done with: Python's own 700 would
# have the collector look at all that waits, for a quarter of the broker's time under load.
GC_THRESHOLDS = (10_000, 10, 10)
SWITCH_SECONDS = 0.0002  # the writer's thread has the next batch to write while the loop works


class _Help(argparse.HelpFormatter):
    """Of one width: to ask for the terminal's takes half a MiB of imports at each start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)


def main() -> None:
    """Exit status 0 after a clean stop, 1 with one line on stderr when it cannot serve."""
    parser = argparse.ArgumentParser(
        prog="hive-broker", description="messages of one swarm", formatter_class=_Help
    )
    parser.add_argument("--root", help="where everything is kept; default: this user's root")
    options = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    sys.setswitchinterval(SWITCH_SECONDS)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # one agent must not use them up
    try:
        _run(_serve(Layout.of(options.root)))
    except (Taken, DatabaseRefused, UnsafeDirectory, OSError) as error:
        sys.exit(f"hive-broker: {error}")


async def _serve(layout: Layout) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    async with serving(layout) as app:
        logging.getLogger(__name__).info(
            "serving %s on %s (start %d)", layout.root, layout.broker_sock, app.broker.epoch
        )
        gc.freeze()  # what was loaded stays: no need to walk through it again and again
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()
        await stop.wait()


def _run(work: Coroutine[Any, Any, None]) -> None:
    run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run
    try:
        import uvloop

        run = uvloop.run
    except ImportError:
        pass
    run(work)
