"""The pages of a large swarm: server time and first paint beside a static page of the same bytes,
an event's way into the page beside a bare one, CPU with 64 browsers, memory.

python bench/dashboard.py [--repetitions N] [--seconds S]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import aiohttp
from idle_memory import cpu_of
from measure import Aim, Spread, report, shuffled, table
from playwright.async_api import BrowserContext, Page, async_playwright
from support.browsing import ARGS
from support.dashboard_apart import Apart, apart
from support.dashboard_world import SAME
from support.page_rows import UIDS, agent_status, host_agent, proposal

from hive_wire.paths import Layout

HERE = Path(__file__).parent
AGENTS, PROPOSALS, MESSAGES = 200, 100, 100_000
CLIENTS, PER_SECOND = 64, 100
ROUNDS = 4
GZIP = {"Accept-Encoding": "gzip, deflate"}
PAINT = """new Promise(done => new PerformanceObserver((list, me) => {
  for (const e of list.getEntries()) if (e.name === "first-contentful-paint") { me.disconnect(); done(e.startTime); }
}).observe({type: "paint", buffered: true}))"""
WATCH = """new MutationObserver(list => {
  const now = performance.timeOrigin + performance.now();
  for (const m of list) for (const n of m.addedNodes) if (n.nodeType === 1)
    for (const e of [n, ...n.querySelectorAll("[data-id]")]) if (e.dataset.id) (window.came ??= {})[e.dataset.id] ??= now;
}).observe(document.getElementById("tail"), {childList: true, subtree: true})"""


def fill(world: Apart) -> None:
    """The swarm of the aim. The broker's and the reconciler's own time is no part of this bench."""
    host, broker = world.host, world.broker
    for i in range(AGENTS - len(host.agents)):
        name = f"w{i}"
        UIDS[name] = f"{i:012x}"
        host.agents.append(host_agent(name, description="reads the news"))
        broker.states[name] = agent_status(name, detail="reads the papers")
    for n in range(1, PROPOSALS + 1):
        host.proposals[n] = proposal(n)
    broker.messages = [
        {
            "id": n, "sender": f"w{n % 90}", "to": f"w{n % 89}", "kind": "text",
            "body": f"message {n} with some words in it", "data": None, "thread": n,
            "in_reply_to": None, "at": time.time(),
        }
        for n in range(1, MESSAGES + 1)
    ]  # fmt: skip


async def login(world: Apart, http: aiohttp.ClientSession) -> None:
    code = (await world.link()).partition("#")[2]
    async with http.post(f"{world.url}/login", data={"code": code}, headers=SAME) as answer:
        answer.raise_for_status()


async def get(http: aiohttp.ClientSession, url: str, **headers: str) -> bytes:
    async with http.get(url, headers=headers) as answer:
        answer.raise_for_status()
        return await answer.read()


async def keep(world: Apart, http: aiohttp.ClientSession, folder: Path) -> int:
    """Write the page and what it loads to a folder; the page's bytes."""
    async with asyncio.timeout(60):  # until every proposal is read
        while b'id="ap100"' not in (page := await get(http, world.url + "/")):
            await asyncio.sleep(0.2)
    (folder / "page.html").write_bytes(page)
    version = re.search(rb"/s/([0-9a-f]+)/", page)
    assert version
    served = folder / "s" / version[1].decode()
    served.mkdir(parents=True)
    for file in (HERE.parent / "dashboard/hive_dashboard/static").iterdir():
        (served / file.name).write_bytes(file.read_bytes())
    return len(page)


@asynccontextmanager
async def bare(layout: Layout, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """Its address and process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HERE / "dashboard_bare.py"), str(layout.root), str(folder),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}", process.pid
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def chromium(folder: str) -> AsyncIterator[BrowserContext]:
    async with async_playwright() as p:
        context = await p.chromium.launch_persistent_context(
            folder, executable_path=shutil.which("chromium"), headless=True, args=ARGS
        )
        try:
            yield context
        finally:
            await context.close()


async def server_times(
    http: aiohttp.ClientSession, urls: dict[str, str], n: int
) -> dict[str, list[float]]:
    def timed(url: str) -> Callable[[], Awaitable[float]]:
        async def run() -> float:
            start = time.perf_counter()
            await get(http, url, **GZIP)
            return time.perf_counter() - start

        return run

    return await shuffled({name: timed(url) for name, url in urls.items()}, n)


async def paint_times(page: Page, urls: dict[str, str], n: int) -> dict[str, list[float]]:
    def timed(url: str) -> Callable[[], Awaitable[float]]:
        async def run() -> float:
            await page.goto(url, wait_until="commit")
            return float(await page.evaluate(PAINT)) / 1000

        return run

    return await shuffled({name: timed(url) for name, url in urls.items()}, n)


async def event_times(
    context: BrowserContext, world: Apart, feeds: dict[str, tuple[str, int]], n: int
) -> dict[str, list[float]]:
    """Each page alone in front, as a hidden page draws no frames, and its server alone awake, as
    both would hear of every event: in turns, for the machine is not the same all the time."""
    times: dict[str, list[float]] = {name: [] for name in feeds}
    for _ in range(ROUNDS):
        for name, (url, _) in feeds.items():
            others = [pid for other, (_, pid) in feeds.items() if other != name]
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
            try:
                times[name] += await came_after(context, world, url, -(-n // ROUNDS))
            finally:
                for pid in others:
                    os.kill(pid, signal.SIGCONT)
    return times


async def came_after(context: BrowserContext, world: Apart, url: str, n: int) -> list[float]:
    page = await context.new_page()
    await page.goto(url)
    seen = 0
    async with asyncio.timeout(60):  # until its stream is open
        while not seen:
            last = world.broker.emit("text", {"text": "first"})
            await asyncio.sleep(0.5)
            seen = await page.locator(f'[data-id="{last}"]').count()
    await page.evaluate(WATCH)
    sent = {}
    for i in range(n):
        await asyncio.sleep(0.1 + 0.007 * (i % 5))
        at = time.time()
        sent[world.broker.emit("text", {"text": f"event {i}"})] = at
    await page.wait_for_function(f"window.came && window.came[{max(sent)}]")
    came = await page.evaluate("window.came")
    await page.close()
    return [came[str(i)] / 1000 - at for i, at in sent.items()]


async def crowd(world: Apart, http: aiohttp.ClientSession, seconds: float) -> tuple[float, int]:
    """Percent of one core that the dashboard needs at that rate, which a busy machine may not
    reach; how many frames came to the 64 browsers."""
    assert world.process is not None
    rows = 0

    async def read(ready: asyncio.Event) -> None:
        nonlocal rows
        url = f"{world.url}/events?stream={UIDS['scout']}"
        async with http.get(url, timeout=aiohttp.ClientTimeout()) as answer:
            async for chunk in answer.content.iter_any():
                ready.set()
                rows += chunk.count(b"event: rows")

    async with asyncio.TaskGroup() as group:
        readies = [asyncio.Event() for _ in range(CLIENTS)]
        readers = [group.create_task(read(ready)) for ready in readies]
        for ready in readies:
            await ready.wait()
        await asyncio.sleep(1)
        rows, before, start = 0, cpu_of(world.process.pid), time.monotonic()
        for i in range(int(seconds * PER_SECOND)):
            world.broker.emit("text", {"text": f"event {i} with **some** words"})
            await asyncio.sleep(max(0.0, start + (i + 1) / PER_SECOND - time.monotonic()))
        await asyncio.sleep(1)  # the last rows
        used = cpu_of(world.process.pid) - before
        for reader in readers:
            reader.cancel()
    return used / int(seconds * PER_SECOND) * PER_SECOND / 10, rows


def resident(pid: int) -> float:
    """MiB."""
    return (
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    n = options.repetitions
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hive-bench-")))
        layout = Layout.of(str(folder / "root"))
        layout.make_run()
        stack.callback(shutil.rmtree, layout.run, ignore_errors=True)
        world = await stack.enter_async_context(apart(layout, fill))
        assert world.process is not None
        jar = aiohttp.CookieJar(unsafe=True)
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(cookie_jar=jar, connector=connector)
        )
        await login(world, http)
        size = await keep(world, http, folder)
        other, other_pid = await stack.enter_async_context(bare(layout, folder))
        urls = {"swarm page": f"{world.url}/", "static page": f"{other}/page"}
        server = await server_times(http, urls, n)
        context = await stack.enter_async_context(chromium(str(folder / "chromium")))
        page = context.pages[0]
        await page.goto(await world.link())
        await page.wait_for_url(f"{world.url}/")
        paint = await paint_times(page, urls, n)
        await page.goto("about:blank")
        feeds = {
            "agent page": (f"{world.url}/a/scout/", world.process.pid),
            "bare page": (f"{other}/live", other_pid),
        }
        event = await event_times(context, world, feeds, n)
        busy, rows = await crowd(world, http, options.seconds)
        memory = resident(world.process.pid)
    show(size, {"server": server, "first paint": paint, "event → DOM": event}, busy, rows, memory)


def show(
    size: int,
    times: dict[str, dict[str, list[float]]],
    busy: float,
    rows: int,
    memory: float,
) -> None:
    lines, ratios = [], {}
    for what, pair in times.items():
        spreads = {name: Spread.of(values) for name, values in pair.items()}
        ours, theirs = spreads.values()
        ratios[what] = ours.median / theirs.median
        lines += [[what, name, s.median, s.low, s.high, s.n] for name, s in spreads.items()]
        lines.append([what, "ratio", ratios[what], None, None, None])
    head = ["what", "page", "median ms", "low", "high", "n"]
    said = f"The page has {size >> 10} KiB of HTML; {rows} frames came to {CLIENTS} browsers."
    aims = [
        Aim("server time beside a static page", ratios["server"], 3, "×"),
        Aim("first paint beside a static page", ratios["first paint"], 1.5, "×"),
        Aim("event → DOM beside a bare page", ratios["event → DOM"], 1.5, "×"),
        Aim(f"{CLIENTS} browsers, {PER_SECOND} events a second", busy, 60, "% of a core"),
        Aim("memory after all of it", memory, 80, "MiB"),
    ]
    report("dashboard", [table(head, lines), said], aims, {"rows": lines, "bytes": size})


if __name__ == "__main__":
    asyncio.run(main())
