"""A door for each agent: its page on its own port, beside that of the swarm."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Mapping

from aiohttp import web

log = logging.getLogger(__name__)
AGAIN = 30.0  # seconds until a taken port is tried again


class AgentPorts:
    """`on_change` hears which agents' ports are open, and which another process has."""

    def __init__(
        self, host: str, on_change: Callable[[dict[str, int], dict[str, int]], None]
    ) -> None:
        self._host = host
        self._on_change = on_change
        self._wanted: dict[str, int] = {}
        self._open: dict[int, web.TCPSite] = {}
        self._wake = asyncio.Event()

    def want(self, ports: Mapping[str, int]) -> None:
        """The port of each agent there is."""
        if ports != self._wanted:
            self._wanted = dict(ports)
            self._wake.set()

    def agent_at(self, port: int) -> str | None:
        """Whose page that port shows."""
        if port not in self._open:
            return None
        return next((name for name, its in self._wanted.items() if its == port), None)

    async def run(self, runner: web.AppRunner) -> None:
        """Open and close doors until cancelled; the runner closes those that are open then."""
        while True:
            self._wake.clear()
            await self._close(set(self._open) - set(self._wanted.values()))
            taken = {
                name: port
                for name, port in self._wanted.items()
                if not await self._try(runner, port)
            }
            self._on_change({n: p for n, p in self._wanted.items() if n not in taken}, taken)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN if taken else None):
                    await self._wake.wait()

    async def _close(self, ports: set[int]) -> None:
        for port in ports:
            await self._open.pop(port).stop()

    async def _try(self, runner: web.AppRunner, port: int) -> bool:
        if port in self._open:
            return True
        site = web.TCPSite(runner, self._host, port)
        try:
            await site.start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                log.warning("port %d: %s", port, error)
            await site.stop()
            return False
        self._open[port] = site
        return True
