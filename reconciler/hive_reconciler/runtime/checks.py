"""What a container must be before anything is made for it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hive_wire.names import is_uid

from .base import Bind, Container, RuntimeFailure
from .records import MARKER, NAME

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check(container: Container) -> None:
    """Raises RuntimeFailure, permanent, naming what is wrong."""
    if not NAME.fullmatch(container.name):
        raise _bad("BadContainer", f"{container.name[:60]!r} is no name of a container")
    if not is_uid(container.uid):
        raise _bad("BadContainer", f"{container.uid[:60]!r} is no uid")
    if not container.argv or not container.argv[0].startswith("/"):
        raise _bad("BadContainer", f"{container.name}: argv needs a program with a full path")
    for name, value in container.environment:
        if not _VARIABLE.fullmatch(name) or name == MARKER or "\0" in value:
            raise _bad("BadContainer", f"{container.name}: bad variable {name[:60]!r}")
    for bind in container.binds:
        _check_bind(bind)
    _check_nesting(container.binds)


def _check_bind(bind: Bind) -> None:
    target = str(bind.target)
    if not target.startswith("/") or os.path.normpath(target) != target or target == "/":
        raise _bad("BadBind", f"{target!r} is no place in a container")
    if not bind.source.is_absolute() or str(bind.source) == "/":
        raise _bad("BadBind", f"{bind.source} must not be bound into a container")
    if not os.path.lexists(bind.source):
        raise RuntimeFailure("BindMissing", f"{bind.source} (for {target}) does not exist")
    real = Path(os.path.realpath(bind.source))
    if real != bind.source:
        raise _bad("BadBind", f"{bind.source} (for {target}) leads through a link to {real}")


def _check_nesting(binds: tuple[Bind, ...]) -> None:
    """A mount point inside what an agent may write could have been made a link by it."""
    targets = {bind.target for bind in binds}
    if len(targets) != len(binds):
        raise _bad("BadBind", "two binds have the same place")
    for bind in binds:
        for other in binds:
            if bind.target in other.target.parents and not bind.read_only:
                raise _bad("BadBind", f"{other.target} lies inside the writable {bind.target}")


def _bad(reason: str, message: str) -> RuntimeFailure:
    return RuntimeFailure(reason, message, permanent=True)
