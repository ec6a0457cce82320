"""`python -m hive_dashboard`: serve until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import re
import signal
import sys

import uvloop

from hive_wire.paths import Layout, UnsafeDirectory

from .auth.store import StoreError
from .service import CannotStart, address, serving
from .settings import Settings

DEFAULT_PORT = 7000  # agents have ports of their own only beside this one


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        uvloop.run(_serve(_settings()))
    except (CannotStart, StoreError, UnsafeDirectory, OSError) as error:
        sys.exit(f"hive-dashboard: {error}")


def _settings() -> Settings:
    parser = argparse.ArgumentParser(prog="hive-dashboard", description="The pages of a hive.")
    parser.add_argument("--root", help="state directory (default: of this user)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name in the address bar, as behind a proxy",
    )
    parser.add_argument(
        "--base-path",
        type=_base,
        default="",
        metavar="PATH",
        help="where a reverse proxy has the pages (/hive); it must take that off",
    )
    parser.add_argument(
        "--proxy-user-header",
        metavar="NAME",
        help="header in which the proxies given by --proxy name the user who is logged in there",
    )
    parser.add_argument(
        "--proxy",
        action="append",
        default=[],
        type=ipaddress.ip_network,
        metavar="ADDRESS",
        help="of a proxy whose --proxy-user-header is believed; all who can speak from there can "
        "log in as anybody",
    )
    given = parser.parse_args()
    if bool(given.proxy) != bool(given.proxy_user_header):
        parser.error("--proxy and --proxy-user-header need each other")
    return Settings(
        Layout.of(given.root),
        given.host,
        given.port,
        tuple(name.lower() for name in given.allowed_host),
        agent_ports=given.port == DEFAULT_PORT,
        base=given.base_path,
        proxy_header=given.proxy_user_header,
        proxies=tuple(given.proxy),
    )


def _base(text: str) -> str:
    path = "/" + text.strip("/") if text.strip("/") else ""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path):
        raise argparse.ArgumentTypeError(f"{text!r} is no path such as /hive")
    return path


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(settings) as site:
        print(f"dashboard: {address(site)}/", flush=True)
        await stop.wait()


if __name__ == "__main__":
    main()
