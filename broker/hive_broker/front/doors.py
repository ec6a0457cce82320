"""The agents' sockets: bound in the directories that the reconciler made, for live agents."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hive_wire.paths import Layout
from hive_wire.sockets import listen

from ..core.limits import Pace
from ..service.app import App
from .harness_api import HarnessApi
from .mcp_door import McpDoor
from .toolbox import Toolbox

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Bound:
    path: Path
    inode: int
    server: asyncio.Server


class _Doors:
    """The two sockets of one agent."""

    def __init__(self, app: App, uid: str) -> None:
        steady = app.broker.clock.steady
        pace = Pace(steady())

        def spend(words: int) -> float:
            return pace.spend(words, steady())

        self.mcp = McpDoor(Toolbox(app, uid), spend)
        self.makers: dict[str, Callable[[], asyncio.BaseProtocol]] = {
            "harness.sock": HarnessApi(app, uid, spend).peer,
            "mcp.sock": self.mcp.protocol,
        }
        self.bound: dict[str, _Bound] = {}


class Doors:
    """`settle` makes the sockets fit the live agents; it is asked for at every registry."""

    def __init__(self, app: App, layout: Layout) -> None:
        self._app = app
        self._layout = layout
        self._open: dict[str, _Doors] = {}
        self._lock = asyncio.Lock()

    async def settle(self) -> None:
        """Bind what is missing, close what is no agent's any more.

        A directory that is not there yet is left for the next time.
        """
        async with self._lock:
            for uid in [uid for uid in self._open if uid not in self._app.broker.agents]:
                await self._close(self._open.pop(uid))
            for uid in self._app.broker.agents:
                await self._bind(uid, self._open.setdefault(uid, _Doors(self._app, uid)))

    async def close(self) -> None:
        async with self._lock:
            for doors in self._open.values():
                await self._close(doors)
            self._open.clear()

    async def _bind(self, uid: str, doors: _Doors) -> None:
        directory = self._layout.agent_run(uid)
        for name, make in doors.makers.items():
            path = directory / name
            bound = doors.bound.get(name)
            if bound is not None and _inode(path) == bound.inode:
                continue
            if bound is not None:
                bound.server.close()
            try:
                server = await listen(path, make)
                doors.bound[name] = _Bound(path, _inode(path), server)
            except OSError as error:
                doors.bound.pop(name, None)
                log.warning("%s is not bound yet: %s", path, error.strerror)

    async def _close(self, doors: _Doors) -> None:
        for bound in doors.bound.values():
            bound.server.close()
            if _inode(bound.path) == bound.inode:
                with contextlib.suppress(OSError):
                    bound.path.unlink()
        await doors.mcp.close()


def _inode(path: Path) -> int:
    """0 when there is nothing."""
    try:
        return path.lstat().st_ino
    except OSError:
        return 0
