"""The conf file of a container under NixOS: what its unit reads, and what we remember in it. Pure.

The file is an EnvironmentFile of systemd: one `KEY=value` a line. Keys of NixOS's unit come first;
`HIVE_…` are ours and mean nothing to the unit. HIVE_SYSTEM is the system that runs, as far as we
brought it about; SYSTEM_PATH the one that the next start or reload takes. While they differ, a
switch has begun and its end is not known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from hive_wire.paths import (
    CONTAINER_APPLIED,
    CONTAINER_CLAUDE,
    CONTAINER_REHEARSAL,
    CONTAINER_RUN,
    CONTAINER_STATE,
)
from hive_wire.terms import NetworkMode

from .base import Bind, Container, RuntimeFailure

NETWORKS: frozenset[NetworkMode] = frozenset({"none", "host"})
SYSTEM = re.compile(r"/nix/store/[0-9a-z]{32}-[A-Za-z0-9+._?=-]{1,200}")
# The container's own NixOS brings its tools: only data and sockets are bound.
BOUND = (
    CONTAINER_RUN,
    CONTAINER_STATE,
    CONTAINER_CLAUDE,
    CONTAINER_APPLIED,
    CONTAINER_REHEARSAL,
)
# What the unit opens to a container and an agent must not have.
_CLOSED = (
    "--inaccessible=/nix/var/nix/daemon-socket",  # its client could ask the host for builds
    # Directories of the host that everybody may enter: what root inside puts there, setuid programs
    # too, is root's outside, and a root for garbage collection.
    "--tmpfs=/nix/var/nix/profiles",
    "--tmpfs=/nix/var/nix/gcroots",
    "--link-journal=no",  # a link in the host's journal, named and filled by the agent
)
OUTDATED = "outdated"  # no restart key of anybody: what runs is to be started anew
_PLAIN = re.compile(r"[A-Za-z0-9_@+=,./:-]+")
_OURS = {
    "uid": "HIVE_UID",
    "name": "HIVE_CONTAINER",
    "root": "HIVE_ROOT",
    "revision": "HIVE_REVISION",
    "restart_key": "HIVE_RESTART_KEY",
    "running": "HIVE_SYSTEM",
}


@dataclass(frozen=True)
class Conf:
    """`next_system` and `running` are store paths; `flags` are nspawn's."""

    uid: str
    name: str
    root: str  # the root of the hive that owns this container
    revision: str
    restart_key: str
    next_system: str
    running: str
    private_network: bool
    flags: tuple[str, ...]

    @property
    def settled(self) -> bool:
        return self.next_system == self.running

    @property
    def is_closed(self) -> bool:
        """Whether it closes what a start closes by now: an older hyperhive may have written it."""
        return self.flags[-len(_CLOSED) :] == _CLOSED

    def switching_to(self, system: str) -> Conf:
        return replace(self, next_system=system)

    def took(self, revision: str) -> Conf:
        """The switch to `next_system` succeeded, or there was none to make."""
        return replace(self, running=self.next_system, revision=revision)

    def outdated(self) -> Conf:
        """Of what only a restart brings to what is wanted, though the key does not say so."""
        return replace(self, restart_key=OUTDATED)


def conf_of(container: Container, root: Path, system: str) -> Conf:
    """The conf to start `container` with. Raises RuntimeFailure, permanent."""
    if not SYSTEM.fullmatch(system):
        raise RuntimeFailure("BadSystem", f"{system[:80]!r} is no store path", permanent=True)
    if container.network not in NETWORKS:
        raise RuntimeFailure(
            "UnsupportedNetwork",
            "the runtime nixos has network.mode none and host; private is not built",
            permanent=True,
        )
    return Conf(
        uid=container.uid,
        name=container.name,
        root=str(root),
        revision=container.revision,
        restart_key=container.restart_key,
        next_system=system,
        running=system,
        private_network=container.network != "host",
        flags=_flags(container),
    )


def _flags(container: Container) -> tuple[str, ...]:
    binds = [_bind(bind) for bind in container.binds if bind.target in BOUND]
    return (*binds, *_CLOSED)


def _bind(bind: Bind) -> str:
    source, target = str(bind.source), str(bind.target)
    if not _PLAIN.fullmatch(source) or ":" in source:
        raise RuntimeFailure(
            "BadBind", f"{source!r} has a character that no conf file can hold", permanent=True
        )
    option = "--bind-ro" if bind.read_only else "--bind"
    return f"{option}={source}:{target}{':idmap' if bind.idmap else ''}"


def render(conf: Conf) -> str:
    lines = [
        "# Written by hive-c0re; edits are overwritten.",
        "PRIVATE_USERS=pick",
        *(["PRIVATE_NETWORK=1"] if conf.private_network else []),
        f"SYSTEM_PATH={conf.next_system}",
        f'EXTRA_NSPAWN_FLAGS="{" ".join(conf.flags)}"',
    ]
    for attribute, key in _OURS.items():
        value = getattr(conf, attribute)
        assert _PLAIN.fullmatch(value), f"{key} is written by us alone"
        lines.append(f"{key}={value}")
    return "\n".join(lines) + "\n"


def parse(text: str) -> Conf | None:
    """None for a conf that is not ours, or that somebody broke."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    try:
        ours = {attribute: values[key] for attribute, key in _OURS.items()}
        return Conf(
            **ours,
            next_system=values["SYSTEM_PATH"],
            private_network=values.get("PRIVATE_NETWORK") == "1",
            flags=tuple(values["EXTRA_NSPAWN_FLAGS"].strip('"').split()),
        )
    except KeyError:
        return None
