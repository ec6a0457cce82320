"""A real browser for tests, logged in.

After a click or a key that leads to another page, `page.wait_for_url` waits until its scripts
listen (as goto, reload and go_back do); `expect(page).to_have_url` does not, and a key pressed
then is lost.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright, expect
from support.dashboard_world import World
from support.needs import need

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=30_000)
NEEDED = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
]
DESK, PHONE = (1440, 900), (390, 844)


@dataclass
class Browser:
    context: BrowserContext
    page: Page
    url: str
    strangers: list[str] = field(default_factory=list)  # requests that left the origin
    troubles: list[str] = field(default_factory=list)  # what the console said

    def watch(self, page: Page) -> Page:
        page.on(
            "request",
            lambda r: None if r.url.startswith(self.url) else self.strangers.append(r.url),
        )
        page.on(
            "console",
            lambda m: self.troubles.append(m.text) if m.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda e: self.troubles.append(str(e)))
        return page

    async def tab(self, path: str = "/") -> Page:
        page = self.watch(await self.context.new_page())
        await page.goto(self.url + path)
        return page


@asynccontextmanager
async def browsing(
    world: World,
    size: tuple[int, int] = DESK,
    *,
    scripts: bool = True,
    login: bool = True,
    scheme: str = "dark",
) -> AsyncIterator[Browser]:
    need("chromium")
    folder = tempfile.mkdtemp(prefix="hd-chromium-")
    async with async_playwright() as p:
        context = await p.chromium.launch_persistent_context(
            folder,
            executable_path=shutil.which("chromium"),
            headless=True,
            args=ARGS,
            viewport={"width": size[0], "height": size[1]},
            java_script_enabled=scripts,
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        try:
            browser = Browser(context, context.pages[0], world.url)
            browser.watch(browser.page)
            if login:
                await browser.page.goto(await world.link())
                if not scripts:
                    code = (await world.link()).partition("#")[2]
                    await browser.page.fill("#code", code)
                    await browser.page.click("button[type=submit]")
                await browser.page.wait_for_url(f"{world.url}/")
            yield browser
        finally:
            await context.close()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
