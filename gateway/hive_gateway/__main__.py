"""`python -m hive_gateway --root DIR`: the way from the agents to the model API."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import resource
import signal
import sys

from hive_wire.lock import Taken
from hive_wire.paths import Layout, UnsafeDirectory

from .server import running


def main() -> int:
    parser = argparse.ArgumentParser(prog="hive-gateway", description=__doc__)
    parser.add_argument("--root", help="where the hive is kept; by default that of this user")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    _allow_many_connections()
    try:
        asyncio.run(_serve(Layout.of(arguments.root)))
    except (OSError, Taken, UnsafeDirectory) as error:
        print(f"hive-gateway: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(layout: Layout) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(layout, os.environ):
        await stop.wait()


def _allow_many_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
