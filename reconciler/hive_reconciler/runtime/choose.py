"""Which runtime this machine and this user get."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from hive_wire.paths import Layout

from .base import Runtime, RuntimeFailure
from .nixos import NixosRuntime
from .nspawn import NspawnRuntime
from .process import ProcessRuntime

Wish = Literal["auto", "nixos", "nspawn", "process"]


def choose(wish: Wish, layout: Layout) -> Runtime:
    """`auto` = nixos on NixOS as root, nspawn as other root, else process.

    Raises RuntimeFailure, permanent, for one that this user cannot have.
    """
    root = os.geteuid() == 0
    if wish == "nixos" and not (root and on_nixos()):
        raise RuntimeFailure(
            "NeedsNixos",
            "the runtime nixos needs NixOS and root; leave --runtime away",
            permanent=True,
        )
    if wish == "nixos" or (wish == "auto" and root and on_nixos()):
        return NixosRuntime.of(layout)
    if wish == "process" and root:
        raise RuntimeFailure(
            "ProcessAsRoot",
            "the runtime process is for users without root; as root use --runtime nspawn",
            permanent=True,
        )
    if wish == "nspawn" and not root:
        raise RuntimeFailure(
            "NeedsRoot", "the runtime nspawn needs root; use --runtime process", permanent=True
        )
    return NspawnRuntime(layout) if root else ProcessRuntime(layout)


def on_nixos() -> bool:
    return Path("/etc/NIXOS").exists()
