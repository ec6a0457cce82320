"""Agents' own ports, and a life below a path of a reverse proxy."""

from __future__ import annotations

import html
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import expect
from support.browsing import browsing
from support.dashboard_world import SAME, World
from support.page_broker import FakeBroker
from support.page_host import FakeHost
from support.page_rows import UIDS

from hive_dashboard.service import serving
from hive_dashboard.settings import Settings
from hive_wire.paths import Layout


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[World]:
    host, broker = FakeHost(settings.layout), FakeBroker(settings.layout)
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        host,
        broker,
        serving(settings) as site,
        aiohttp.ClientSession(cookie_jar=jar) as http,
    ):
        world = World(site, host, broker, settings.layout, http)
        await world.settled()
        yield world


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


async def test_each_agent_has_its_page_on_its_own_port(layout: Layout) -> None:
    async with running(Settings(layout, port=0, agent_ports=True)) as world:
        await world.login()
        port = free_port()
        world.host.agents[1]["web_port"] = port
        world.host.changed("agents")
        await world.until(lambda: world.site.ports.agent_at(port) == "scout")
        own = f"http://127.0.0.1:{port}"
        async with world.http.get(own + "/") as answer:
            assert str(answer.url) == f"{own}/a/scout/"
            assert "reads the news" in await answer.text()
        async with world.http.get(own + "/swarm") as answer:
            assert str(answer.url) == f"{own}/swarm"
            assert "C0NTAINERS" in await answer.text()
        same = {**SAME, "Origin": own}
        async with world.http.post(
            f"{own}/a/scout/prompt", data={"body": "look"}, headers=same
        ) as answer:
            assert answer.status == 200
        crossed = {"Origin": own}
        async with world.http.post(
            f"{world.url}/a/scout/prompt", data={"body": "x"}, headers=crossed
        ) as answer:
            assert answer.status == 403, "another port is another origin"
        async with world.http.get(own, headers={"Host": f"127.0.0.1:{world.site.port}"}) as answer:
            assert answer.status == 421
        world.host.agents.pop(1)
        world.host.changed("agents")
        await world.until(lambda: not listens(port))


async def test_a_taken_port_is_said_and_tried_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hive_dashboard.web.ports.AGAIN", 0.05)
    async with running(Settings(layout, port=0, agent_ports=True)) as world:
        await world.login()
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = int(other.getsockname()[1])
            world.host.agents[1]["web_port"] = port
            world.host.changed("agents")
            await world.until(lambda: world.site.mirror.snapshot.taken == {"scout": port})
            assert f"port {port} is taken" in await world.get("/a/scout/")
        await world.until(lambda: world.site.ports.agent_at(port) == "scout")
        await world.until(lambda: not world.site.mirror.snapshot.taken)


@asynccontextmanager
async def proxy(target: str, base: str) -> AsyncIterator[str]:
    """A reverse proxy that takes `base` off, as nginx does with a slash behind proxy_pass."""

    async def forward(request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["tail"]
        url = target + path + (f"?{request.query_string}" if request.query_string else "")
        async with (
            aiohttp.ClientSession(auto_decompress=False) as http,
            http.request(
                request.method,
                url,
                headers={**request.headers},
                data=await request.read(),
                allow_redirects=False,
            ) as found,
        ):
            skip = {"transfer-encoding", "content-length", "connection"}
            answer = web.StreamResponse(status=found.status)
            for name, value in found.headers.items():
                if name.lower() not in skip:
                    answer.headers.add(name, value)
            await answer.prepare(request)
            async for chunk in found.content.iter_any():
                await answer.write(chunk)
            return answer

    app = web.Application()
    app.router.add_route("*", base + "/{tail:.*}", forward)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://hive.localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def below(layout: Layout) -> Settings:
    return Settings(layout, port=0, allowed_hosts=("hive.localhost",), base="/hive")


async def test_every_link_is_below_the_path(layout: Layout) -> None:
    async with running(below(layout)) as world:
        world.host.add(7)
        world.broker.ask("Which?", ["a"])
        await world.until(lambda: 7 in world.site.mirror.snapshot.details)
        code = (await world.link()).partition("#")[2]
        async with world.http.post(
            f"{world.url}/login", data={"code": code}, headers=SAME, allow_redirects=False
        ) as answer:
            assert answer.headers["Location"] == "/hive/"
            cookie = answer.headers["Set-Cookie"]
            assert "Path=/hive/" in cookie
        sent = {"Cookie": cookie.partition(";")[0]}
        for path in ("/", "/a/scout/", "/audit", "/plan", "/messages", "/sessions", "/proposals/7"):
            async with world.http.get(world.url + path, headers=sent) as answer:
                text = html.unescape(await answer.text())
                assert answer.status == 200
            found = re.findall(r'(?:href|action|src)="(/[^"]*)"', text)
            assert found
            assert all(link.startswith("/hive/") for link in found), path


async def test_links_of_rows_that_come_alone_are_below_the_path(layout: Layout) -> None:
    async with running(below(layout)) as world:
        code = (await world.link()).partition("#")[2]
        async with world.http.post(
            f"{world.url}/login", data={"code": code}, headers=SAME, allow_redirects=False
        ) as answer:
            sent = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}
        url = f"{world.url}/events?stream={UIDS['scout']}"
        async with world.http.get(url, headers=sent) as answer:
            await answer.content.readuntil(b"event: ping")
            await world.until(lambda: any(c.send for c in world.site.hub._clients))
            world.broker.emit("text", {"text": "hello"})
            row = await answer.content.readuntil(b"hello")
        assert b'"/hive/a/scout/?at=' in row


@pytest.mark.browser
@pytest.mark.timeout(240)
async def test_a_browser_below_a_path(layout: Layout) -> None:
    async with (
        running(below(layout)) as world,
        proxy(world.url, "/hive") as front,
        browsing(world, login=False) as b,
    ):
        b.url = front
        page = b.page
        code = (await world.link()).partition("#")[2]
        await page.goto(f"{front}/hive/login#{code}")
        await expect(page.locator("#live")).to_contain_text("L1VE")
        world.broker.message("hm1nd", "scout", "through the proxy")
        await expect(page.locator("#flow")).to_contain_text("through the proxy")
        await page.fill("#f-send textarea", "and back")
        await page.press("#f-send textarea", "Enter")
        await expect(page.locator("#flow")).to_contain_text("and back")
        await page.click("#box-scout a")
        await expect(page).to_have_url(f"{front}/hive/a/scout/")
        await expect(page.locator("#live")).to_contain_text("L1VE")
        assert b.strangers == []
        assert b.troubles == []
