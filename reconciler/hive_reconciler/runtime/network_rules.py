"""The private network of containers as addresses and an nft ruleset: pure."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

# Set aside for tests of network devices, so unlikely to be anybody's own; pairs of two.
POOL = ipaddress.IPv4Network("198.19.0.0/16")
# Where agents must not get: this machine's neighbours, clouds' metadata, each other. Neighbours
# with public addresses, who may trust this machine's, are those of its interfaces' networks.
PRIVATE = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16", "198.18.0.0/15"),
    *("224.0.0.0/4", "240.0.0.0/4"),
)
WIRES = "hv*"  # what interface() names, as nft writes it


@dataclass(frozen=True)
class Wire:
    """One container's pair of interfaces. `host` is the address of the host's end."""

    interface: str
    host: ipaddress.IPv4Address

    @property
    def container(self) -> ipaddress.IPv4Address:
        return self.host + 1


def interface(machine: str) -> str:
    """The host's end: at most 15 characters, the same for the same machine name."""
    return f"hv{hashlib.sha256(machine.encode()).hexdigest()[:10]}"


def allocate(machine: str, used: Collection[ipaddress.IPv4Address]) -> Wire:
    """A pair that nobody has, by the name's hash, probing forward. Raises ValueError when full."""
    pairs = POOL.num_addresses // 2
    first = int.from_bytes(hashlib.sha256(machine.encode()).digest()[:4], "big")
    for step in range(pairs):
        host = POOL[2 * ((first + step) % pairs)]
        if host not in used and host + 1 not in used:
            return Wire(interface(machine), host)
    raise ValueError(f"every address of {POOL} is in use")


def table(tag: str) -> str:
    return "hive" + tag.replace("-", "_")


def neighbours(interfaces: Collection[ipaddress.IPv4Interface]) -> tuple[str, ...]:
    """The networks that this machine is in, without those that PRIVATE has anyway."""
    networks = {interface.network for interface in interfaces}
    private = [ipaddress.IPv4Network(one) for one in PRIVATE]
    found = (n for n in networks if 0 < n.prefixlen < 32)
    return tuple(str(n) for n in sorted(found) if not any(n.subnet_of(one) for one in private))


def ruleset(
    tag: str, wires: Collection[Wire], resolvers: Collection[str], near: Collection[str]
) -> str:
    """What nft loads, in one transaction; without wires it only removes.

    Nothing from a container reaches the host, a private range, one of the networks `near`, or
    another container; DNS goes to the host's resolvers; nobody opens a connection into one; each
    sends from its own address.
    """
    name = table(tag)
    remove = f"table inet {name}\ndelete table inet {name}\n"
    if not wires:
        return remove
    ordered = sorted(wires, key=lambda wire: wire.host)
    interfaces = ", ".join(f'"{wire.interface}"' for wire in ordered)
    pairs = ", ".join(f'"{wire.interface}" . {wire.container}' for wire in ordered)
    addresses = ", ".join(str(wire.container) for wire in ordered)
    private = ", ".join((*PRIVATE, *near))
    dns = _dns(resolvers)
    return f"""{remove}table inet {name} {{
  set wires {{ type ifname; elements = {{ {interfaces} }} }}
  set pairs {{ type ifname . ipv4_addr; elements = {{ {pairs} }} }}
  set addresses {{ type ipv4_addr; elements = {{ {addresses} }} }}
  set private {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {private} }} }}
  chain input {{
    type filter hook input priority filter - 10; policy accept;
    iifname @wires drop
  }}
  chain forward {{
    type filter hook forward priority filter - 10; policy accept;
    iifname @wires meta nfproto ipv6 drop
    iifname @wires iifname . ip saddr != @pairs drop
    iifname @wires oifname @wires drop
{dns}    iifname @wires ip daddr @private drop
    oifname @wires ct state established,related accept
    oifname @wires drop
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr @addresses masquerade
  }}
}}
"""


def _dns(resolvers: Collection[str]) -> str:
    if not resolvers:
        return ""
    where = f"iifname @wires ip daddr {{ {', '.join(sorted(resolvers))} }}"
    return f"    {where} udp dport 53 accept\n    {where} tcp dport 53 accept\n"


def resolvers_of(texts: Collection[str], own: Collection[ipaddress.IPv4Address]) -> tuple[str, ...]:
    """IPv4 name servers of the first resolv.conf that has any a container can reach: none of this
    machine's `own` addresses."""
    for text in texts:
        found = []
        for line in text.splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver" and _reachable(words[1], own):
                found.append(words[1])
        if found:
            return tuple(found[:3])
    return ()


def _reachable(text: str, own: Collection[ipaddress.IPv4Address]) -> bool:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address in own)
