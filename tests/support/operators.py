"""The operator's hands on the page, in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Page, async_playwright, expect

CHROMIUM = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


class ByPage:
    """Waits for what comes by itself: the page is never loaded again."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def say(self, to: str, text: str) -> None:
        form = self.page.locator('form[action="/send"]')
        await form.locator("select[name=to]").select_option(to)
        await form.locator("textarea[name=body]").fill(text)
        await form.get_by_role("button").click()

    async def approve(self, n: int) -> None:
        form = self.page.locator(f'form[action="/proposals/{n}/approve"]')
        await form.get_by_role("button").click()
        if await form.get_attribute("data-x-sure"):  # files not viewed, or a high risk
            await form.get_by_role("button").click()
        await expect(form).to_have_count(0)

    async def deny(self, n: int, reason: str) -> None:
        await self.page.locator(f"#deny-{n} summary").click()
        form = self.page.locator(f'form[action="/proposals/{n}/deny"]')
        await form.locator("textarea[name=reason]").fill(reason)
        await form.get_by_role("button").click()
        await expect(form).to_have_count(0)

    async def choose(self, question: int, number: int) -> None:
        form = self.page.locator(f'form[action="/questions/{question}/answer"]')
        await form.locator("input[name=choice]").nth(number - 1).check()
        await form.get_by_role("button", name="Answer").click()
        await expect(form).to_have_count(0)


@asynccontextmanager
async def browsing(link: str, *, width: int = 1440, height: int = 900) -> AsyncIterator[Page]:
    """A page that is logged in by a one-time link."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=CHROMIUM
        )
        page = await browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark"
        )
        await page.goto(link)
        await page.wait_for_url(link.split("/login", maxsplit=1)[0] + "/")
        yield page
        await browser.close()
