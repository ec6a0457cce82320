"""A running dashboard as tests use it, with made-up processes behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from support.page_broker import FakeBroker
from support.page_host import FakeHost

from hive_dashboard.service import serving
from hive_dashboard.settings import Settings
from hive_dashboard.web.site import Site
from hive_wire.paths import Layout
from hive_wire.sockets import connect

SAME = {"Sec-Fetch-Site": "same-origin"}
JSON = {**SAME, "Accept": "application/json"}


@dataclass
class World:
    site: Site
    host: FakeHost
    broker: FakeBroker
    layout: Layout
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.site.port}"

    async def link(self, user: str = "damo", *, view_only: bool = False) -> str:
        """A one-time link, as `hive login` gets it."""
        peer = await connect(self.layout.dashboard_sock)
        answer = await peer.request("login.issue", {"user": user, "view_only": view_only})
        peer.close()
        return str(answer["url"])

    async def login(self, user: str = "damo", *, view_only: bool = False) -> None:
        code = (await self.link(user, view_only=view_only)).partition("#")[2]
        async with self.http.post(f"{self.url}/login", data={"code": code}, headers=SAME) as answer:
            assert answer.status == 200, await answer.text()

    async def get(self, path: str) -> str:
        async with self.http.get(self.url + path) as answer:
            return await answer.text()

    async def until(self, holds: Callable[[], bool], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.01)

    async def settled(self) -> None:
        """Both processes are connected and all is read."""
        await self.until(
            lambda: (
                not self.site.mirror.snapshot.away
                and self.site.mirror.snapshot.status is not None
                and bool(self.site.mirror.snapshot.agents)
            )
        )


@asynccontextmanager
async def lonely(layout: Layout) -> AsyncIterator[World]:
    """A dashboard whose processes are not there; what was started of them is stopped."""
    host, broker = FakeHost(layout), FakeBroker(layout)
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address
    try:
        async with (
            serving(Settings(layout, port=0)) as site,
            aiohttp.ClientSession(cookie_jar=jar) as http,
        ):
            yield World(site, host, broker, layout, http)
    finally:
        await host.stop()
        await broker.stop()
