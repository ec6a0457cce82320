"""Which containers of a root have a private network; their addresses lie beside their records."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from pathlib import Path

from hive_wire.paths import Layout

from . import network
from .base import RuntimeFailure
from .network_rules import Wire, allocate, interface
from .processes import Process
from .records import Cabinet

FILE = "wire"
NAMES = "resolv.conf"  # bound into the container, which has this very file


class Wiring:
    """These methods block. Raises RuntimeFailure where the machine refuses."""

    def __init__(self, layout: Layout, cabinet: Cabinet) -> None:
        self._layout = layout
        self._cabinet = cabinet
        self._lock = threading.Lock()  # one address for one container, one ruleset at a time

    def connect(self, name: str, leader: Process) -> None:
        """The filter first, then the wire."""
        with self._lock:
            machine = self._layout.machine(name)
            taken = {wire.host for wire in self._wires(besides=name)}
            wire = allocate(machine, taken | network.used_addresses())
            self._file(name).write_text(str(wire.host))
            network.guard(self._layout.tag, self._wires())
        network.connect(wire, leader)

    def disconnect(self, name: str) -> None:
        """The interfaces went with the container's namespace. The note goes last: until then this
        is done again."""
        if not self.has(name):  # nor does it wait for a tool that hangs
            return
        with self._lock:
            network.guard(self._layout.tag, self._wires(besides=name))
            self._file(name).unlink(missing_ok=True)

    def refresh(self) -> str:
        """Put the filter back should anybody have flushed it, and have the containers ask the name
        servers that this machine asks by now. Without wires: nothing.

        Returns why that could not be done, or "". Then what is loaded stays: nothing is opened.
        """
        try:
            with self._lock:
                if wires := self._wires():
                    servers = network.guard(self._layout.tag, wires)
                    for name in self._cabinet.names():
                        _rewrite(self._names(name), network.resolv_conf(servers))
        except RuntimeFailure as failure:
            return failure.message
        except OSError as error:
            return str(error)
        return ""

    def names(self, name: str) -> Path:
        """A fresh resolv.conf for the container, to be bound into it."""
        file = self._names(name)
        file.write_text(network.resolv_conf(network.resolvers()))
        file.chmod(0o644)
        return file

    def has(self, name: str) -> bool:
        return self._file(name).exists()

    def _wires(self, *, besides: str = "") -> list[Wire]:
        found = []
        for name in self._cabinet.names() - {besides}:
            try:
                host = ipaddress.IPv4Address(self._file(name).read_text())
            except (FileNotFoundError, ValueError):
                continue
            found.append(Wire(interface(self._layout.machine(name)), host))
        return found

    def _file(self, name: str) -> Path:
        return self._cabinet.entry(name).path / FILE

    def _names(self, name: str) -> Path:
        return self._cabinet.entry(name).path / NAMES


def _rewrite(file: Path, text: str) -> None:
    """In place. Whoever reads meanwhile finds empty lines at its end, no remains."""
    with contextlib.suppress(FileNotFoundError), file.open("r+b", buffering=0) as handle:
        old, new = handle.read(), text.encode()
        if old != new:
            handle.seek(0)
            handle.write(new.ljust(len(old), b"\n"))
            handle.truncate(len(new))
