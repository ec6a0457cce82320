"""Gives a running container its private network. These functions block."""

from __future__ import annotations

import ipaddress
import json
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from .base import RuntimeFailure
from .forwarding import closed, closed_legacy
from .network_rules import Wire, neighbours, resolvers_of, ruleset
from .processes import Process, alive

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
SECONDS = 30.0  # for one command
PROGRAMS = {"nft": "nftables", "ip": "iproute2", "nsenter": "util-linux"}  # and their packages
LEGACY = Path("/proc/net/ip_tables_names")  # tables that nft does not see
RESOLV = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def problem() -> tuple[str, str] | None:
    """(what is missing, cure), or None when private networks can be made."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return _missing(program)
    if FORWARDING.read_text().strip() != "1":
        # Forwarding is the whole machine's: the operator's to decide.
        return "this machine forwards no packets", "sysctl -w net.ipv4.ip_forward=1"
    return None


def require() -> None:
    """Raises RuntimeFailure when private networks cannot be made here."""
    if (found := problem()) is not None:
        raise _not_ready(*found)


def _missing(program: str) -> tuple[str, str]:
    return f"{program} is missing", f"Debian: apt install {PROGRAMS[program]}"


def _not_ready(what: str, cure: str) -> RuntimeFailure:
    return RuntimeFailure("NetworkNotReady", f'network.mode = "private": {what}; cure: {cure}')


def firewall() -> tuple[str, str] | None:
    """(what of this machine's drops what private networks forward, cure), or None."""
    if (found := closed(_run(["nft", "-j", "list", "ruleset"]))) is not None:
        return found
    legacy = shutil.which("iptables-legacy") or shutil.which("iptables")
    if legacy is None or not LEGACY.exists() or "filter" not in LEGACY.read_text().split():
        return None
    return closed_legacy(Path(legacy).name, _run([legacy, "-S"]))


def used_addresses() -> frozenset[ipaddress.IPv4Address]:
    """All of this machine's."""
    return frozenset(interface.ip for interface in _interfaces())


def _interfaces() -> list[ipaddress.IPv4Interface]:
    said = _run(["ip", "-json", "-4", "address"])
    return [
        ipaddress.IPv4Interface((info["local"], info["prefixlen"]))
        for link in json.loads(said or "[]")
        for info in link.get("addr_info", ())
        if "local" in info
    ]


def guard(tag: str, wires: Collection[Wire]) -> tuple[str, ...]:
    """Load this root's filter for exactly these wires, replacing it without a gap. Returns the
    name servers that it lets them ask."""
    here = _interfaces() if wires else []
    servers = _resolvers(here) if wires else ()
    _run(["nft", "-f", "-"], ruleset(tag, wires, servers, neighbours(here)))
    return servers


def connect(wire: Wire, leader: Process) -> None:
    """Wire up the container's network namespace. It goes away with the container."""
    inside = f"/proc/{leader.pid}/ns/net"
    if not alive(leader):
        raise RuntimeFailure("StartFailed", "it ended before it had its network")
    _run(
        ["ip", "-batch", "-"],
        f"link add {wire.interface} type veth peer name eth0 netns {leader.pid}\n"
        f"address add {wire.host}/31 dev {wire.interface}\n",
    )
    no_ipv6 = Path(f"/proc/sys/net/ipv6/conf/{wire.interface}/disable_ipv6")
    if no_ipv6.exists():
        no_ipv6.write_text("1")
    _run(["ip", "link", "set", wire.interface, "up"])
    _run(
        ["nsenter", f"--net={inside}", "ip", "-batch", "-"],
        f"address add {wire.container}/31 dev eth0\nlink set eth0 up\n"
        f"route add default via {wire.host}\n",
    )


def resolvers() -> tuple[str, ...]:
    return _resolvers(_interfaces())


def _resolvers(here: list[ipaddress.IPv4Interface]) -> tuple[str, ...]:
    texts = [p.read_text(errors="replace") for p in RESOLV if p.exists()]
    return resolvers_of(texts, {interface.ip for interface in here})


def resolv_conf(servers: tuple[str, ...]) -> str:
    return "".join(f"nameserver {address}\n" for address in servers)


def _run(command: list[str], text: str = "") -> str:
    what = " ".join(command[:3])
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise RuntimeFailure("NetworkFailed", f"{what}: did not end in {SECONDS:g} s") from None
    except FileNotFoundError:  # it was there when the network was made
        raise _not_ready(*_missing(command[0])) from None
    except OSError as error:
        raise RuntimeFailure("NetworkFailed", f"{what}: {error.strerror}") from error
    if done.returncode != 0:
        raise RuntimeFailure("NetworkFailed", f"{what}: {done.stderr.strip()[-300:]}")
    return done.stdout
