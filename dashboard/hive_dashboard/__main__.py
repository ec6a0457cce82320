"""`python -m hive_dashboard`: serve until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys

import uvloop

from hive_wire.dashboard_options import PORT, add_options, contradiction
from hive_wire.lock import Taken
from hive_wire.paths import Layout, UnsafeDirectory

from .auth.store import StoreError
from .service import CannotStart, address, serving
from .settings import Settings


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        uvloop.run(_serve(_settings()))
    except (CannotStart, Taken, StoreError, UnsafeDirectory, OSError) as error:
        sys.exit(f"hive-dashboard: {error}")


def _settings() -> Settings:
    parser = argparse.ArgumentParser(prog="hive-dashboard", description="The pages of a hive.")
    parser.add_argument("--root", help="state directory (default: of this user)")
    add_options(parser)
    given = parser.parse_args()
    if (wrong := contradiction(given)) is not None:
        parser.error(wrong)
    return Settings(
        Layout.of(given.root),
        given.host,
        given.port,
        tuple(given.allowed_host),
        agent_ports=given.port == PORT,
        base=given.base_path,
        proxy_header=given.proxy_user_header,
        proxies=tuple(given.proxy),
    )


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(settings) as site:
        print(f"dashboard: {address(site)}/", flush=True)
        await stop.wait()


if __name__ == "__main__":
    main()
