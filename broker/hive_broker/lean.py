"""Imports without what the broker has no use for: a sixth of its memory, and of the time to start.

asyncio, uvloop and hashlib bring OpenSSL along, which nobody needs who speaks on unix sockets and
hashes little; pydantic looks through the metadata of all installed packages for plugins.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

BUILTIN_HASHES = ("_md5", "_sha1", "_sha2" if sys.version_info >= (3, 12) else "_sha256")


@contextmanager
def lean_imports() -> Iterator[None]:
    """While entered, stand-ins take the place of what was not imported yet. Behind it whoever
    asks for the real ones gets them: MCP's library does."""
    standing_in: dict[str, ModuleType | None] = {"importlib.metadata": _no_plugins()}
    if all(find_spec(name) for name in BUILTIN_HASHES):
        standing_in["_hashlib"] = None  # hashlib goes on with Python's own
    new = {name: module for name, module in standing_in.items() if name not in sys.modules}
    _import_loops()
    sys.modules.update(new)  # type: ignore[arg-type] # None: an ImportError
    try:
        yield
    finally:
        for name, module in new.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _import_loops() -> None:
    """asyncio does without TLS by itself; uvloop wants the names of what it would catch."""
    if "ssl" in sys.modules:
        return
    sys.modules["ssl"] = None  # type: ignore[assignment] # an ImportError
    try:
        import asyncio  # noqa: F401

        sys.modules["ssl"] = _NoTls("ssl")
        try:
            import uvloop  # noqa: F401
        except ImportError:
            pass
    finally:
        del sys.modules["ssl"]


class _NoTls(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("SSL_ERROR_"):
            return 0
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})


def _no_plugins() -> ModuleType:
    module = ModuleType("importlib.metadata")
    module.entry_points = lambda **_: ()  # type: ignore[attr-defined]
    return module
