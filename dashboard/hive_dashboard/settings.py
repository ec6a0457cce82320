"""What the process was started with."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from hive_wire.dashboard_options import HOST, PORT, Network
from hive_wire.paths import Layout


@dataclass(frozen=True)
class Settings:
    """`port` 0 takes a free one. `allowed_hosts` are further names, each with any port. `base`
    ("/hive") is where a proxy has us, which it takes off. A proxy at one of `proxies` (addresses
    or networks) may name the user in `proxy_header`."""

    layout: Layout
    host: str = HOST
    port: int = PORT
    allowed_hosts: tuple[str, ...] = ()
    agent_ports: bool = False  # each agent's page on its own port, too
    base: str = ""
    proxy_header: str | None = None
    proxies: tuple[Network, ...] = ()

    @property
    def cookie(self) -> str:
        """Cookies ignore ports: two roots on one host need two names."""
        return f"hive-session{self.layout.tag}"

    def trusts(self, address: str | None) -> bool:
        """Whether the proxy that may name users speaks from `address`."""
        try:
            found = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        return any(found in network for network in self.proxies)

    def host_allowed(self, header: str, port: int) -> bool:
        """Whether `header` (of Host) is a name of ours. Without this list, a name of somebody
        else's that resolves to this machine (DNS rebinding) would be same-origin."""
        name, given = _split(header)
        if name in self.allowed_hosts:
            return True
        return given == port and name in ("localhost", "127.0.0.1", "[::1]", _bracket(self.host))


def _split(header: str) -> tuple[str, int]:
    header = header.strip().lower()
    name, colon, port = header.rpartition(":")
    if not colon or header.endswith("]"):
        return header, 80
    return name, int(port) if port.isascii() and port.isdigit() else -1


def _bracket(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host.lower()
