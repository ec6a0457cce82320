"""The options of the dashboard, which `hive up` takes too and passes on."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Iterator

HOST = "127.0.0.1"
PORT = 7000  # agents have ports of their own only beside this one

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default=HOST, metavar="ADDRESS", help=f"that the page listens on ({HOST})"
    )
    parser.add_argument(
        "--port", type=_port, default=PORT, help=f"of the page ({PORT}); 0 takes a free one"
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        type=_name,
        default=[],
        metavar="NAME",
        help="a further name in the address bar, as behind a reverse proxy",
    )
    parser.add_argument(
        "--base-path",
        type=_path,
        default="",
        metavar="PATH",
        help="where a reverse proxy has the page (/hive); it must take that off",
    )
    parser.add_argument(
        "--proxy",
        action="append",
        type=_network,
        default=[],
        metavar="ADDRESS",
        help="of a proxy whose --proxy-user-header is believed; all who can speak from there can "
        "log in as anybody",
    )
    parser.add_argument(
        "--proxy-user-header",
        type=_header,
        metavar="NAME",
        help="header in which the proxies given by --proxy name the user who is logged in there",
    )


def contradiction(options: argparse.Namespace) -> str | None:
    """What no single option shows."""
    if bool(options.proxy) != bool(options.proxy_user_header):
        return "--proxy and --proxy-user-header need each other"
    return None


def arguments(options: argparse.Namespace) -> Iterator[str]:
    """What says the same to another process."""
    yield f"--host={options.host}"
    yield f"--port={options.port}"
    for name in options.allowed_host:
        yield f"--allowed-host={name}"
    if options.base_path:
        yield f"--base-path={options.base_path}"
    for network in options.proxy:
        yield f"--proxy={network}"
    if options.proxy_user_header:
        yield f"--proxy-user-header={options.proxy_user_header}"


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:]+\]", text.lower()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name such as hive.example.org (without https:// and without a port)"
        )
    return text.lower()


def _path(text: str) -> str:
    path = "/" + text.strip("/") if text.strip("/") else ""
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*", path):
        raise argparse.ArgumentTypeError(f"{text!r} is no path such as /hive")
    return path


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"no address or network: {error}") from None


def _header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a header such as Remote-User")
    return text
