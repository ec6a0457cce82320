"""hive top on a real dashboard: in Textual's pilot, and once in a real terminal."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from support.dashboard_world import World
from support.page_rows import host_agent
from textual.pilot import Pilot
from textual.widgets import DataTable, RichLog, Static

from hive_dashboard.live.hub import MAX_CLIENTS
from hive_reconciler.app.commands.common import me
from hive_reconciler.app.commands.top import login_link
from hive_reconciler.app.screen import AgentLog, Top
from hive_reconciler.app.watching import Feed

HIVE = (sys.executable, "-m", "hive_reconciler.app.cli")
EVIL = "[red]x[/red] \x1b]52;c;eA==\x07 \u202egpj"


@asynccontextmanager
async def watching(world: World) -> AsyncIterator[Pilot[None]]:
    app = Top(lambda show: Feed(lambda: login_link(world.layout), show))
    async with app.run_test(size=(140, 40)) as pilot:
        yield pilot


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await pilot.pause(0.05)


def bar(pilot: Pilot[None]) -> str:
    return str(pilot.app.screen_stack[0].query_one("#bar", Static).content)


def need(pilot: Pilot[None]) -> str:
    return str(pilot.app.screen_stack[0].query_one("#need", Static).content)


def table(pilot: Pilot[None]) -> dict[str, list[str]]:
    found = pilot.app.screen_stack[0].query_one(DataTable)
    return {str(key.value): [str(cell) for cell in found.get_row(key)] for key in list(found.rows)}


def log(pilot: Pilot[None], ident: str) -> str:
    return "\n".join(strip.text for strip in pilot.app.screen.query_one(f"#{ident}", RichLog).lines)


async def test_it_shows_the_swarm_as_it_changes(world: World) -> None:
    world.broker.message("hm1nd", "scout", f"hello {EVIL}")
    async with watching(world) as pilot:
        await until(pilot, lambda: "scout" in table(pilot))
        assert "L1VE" in bar(pilot)
        assert need(pilot) == "✓ nothing needs you"
        assert "[red]x[/red]" in log(pilot, "flow"), "text of agents is no markup"
        assert "\x1b" not in log(pilot, "flow")
        assert "⟨U+202E⟩gpj" in log(pilot, "flow")
        world.broker.state("scout", "thinking", f"reads {EVIL}")
        world.host.add(7)
        world.broker.ask("Which cache?", ["near"], expires=time.time() + 60)
        await until(pilot, lambda: "thinking" in table(pilot)["scout"][1])
        assert "[red]x[/red]" in table(pilot)["scout"][-1]
        await until(pilot, lambda: "1 merge to approve" in need(pilot))
        first, second = need(pilot).splitlines()
        assert first.startswith("? scout asks: Which cache?"), "what ends soon goes first"
        assert "left" in first
        assert "#7 hm1nd" in second


async def test_the_log_of_an_agent(world: World) -> None:
    world.broker.emit("text", {"text": "read the papers"})
    async with watching(world) as pilot:
        await until(pilot, lambda: "scout" in table(pilot))
        await pilot.press("j", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, AgentLog))
        await until(pilot, lambda: "read the papers" in log(pilot, "log"))
        world.broker.emit("text", {"text": "read them again"})
        world.broker.state("scout", "idle")
        await until(pilot, lambda: "read them again" in log(pilot, "log"))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, AgentLog))
        world.host.agents.pop()
        world.host.agents.append(host_agent("mallory"))
        del world.broker.states["scout"]
        world.host.changed("agents")
        world.broker.emit("offline", {})
        await until(pilot, lambda: list(table(pilot)) == ["hm1nd", "mallory"])


async def test_it_says_what_is_away_and_comes_back(world: World) -> None:
    async with watching(world) as pilot:
        await until(pilot, lambda: "L1VE" in bar(pilot))
        await world.broker.stop()
        await until(pilot, lambda: "the broker is away" in bar(pilot))
        await world.broker.start()
        await until(pilot, lambda: "away" not in bar(pilot))
        for session in world.site.auth.live():  # its login is ended: it gets another
            await world.site.auth.end(session.label)
        await until(pilot, lambda: len(world.site.auth.live()) == 1)
        await until(pilot, lambda: world.site.hub.clients == 1)
    async with asyncio.timeout(10):
        while world.site.auth.live():
            await asyncio.sleep(0.01)


async def test_it_says_why_it_gets_no_news(world: World) -> None:
    hub = world.site.hub
    taken = [hub.join("s", me(), frozenset()) for _ in range(MAX_CLIENTS)]
    async with watching(world) as pilot:
        await until(pilot, lambda: "are open already" in bar(pilot))
        assert "end their sessions at /sessions" in bar(pilot)
        assert len(bar(pilot)) > pilot.app.size.width
        await until(pilot, lambda: pilot.app.query_one("#bar").size.height > 1)
        for client in taken:
            hub.leave(client)
        await until(pilot, lambda: "L1VE" in bar(pilot))
        assert "already" not in bar(pilot)


async def test_in_a_real_terminal(world: World) -> None:
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *HIVE, "top", "--root", str(world.layout.root),
        stdin=child, stdout=child, stderr=child, start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(child)
    os.set_blocking(parent, False)
    seen = bytearray()

    async def sees(*words: str) -> None:
        async with asyncio.timeout(50):
            while not all(word.encode() in seen for word in words):
                try:
                    seen.extend(os.read(parent, 1 << 16))
                except BlockingIOError:
                    await asyncio.sleep(0.02)

    try:
        await sees("L1VE", "scout", "N33DS Y0U", "nothing needs you")
        os.write(parent, b"q")
        async with asyncio.timeout(20):
            while process.returncode is None:
                try:
                    os.read(parent, 1 << 16)
                except (BlockingIOError, OSError):
                    await asyncio.sleep(0.02)
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(parent)


@pytest.mark.parametrize("running", [True, False])
async def test_without_a_terminal_or_a_swarm_it_says_what_to_do(
    world: World, running: bool
) -> None:
    root = world.layout.root if running else world.layout.root / "none"
    done = await asyncio.to_thread(
        subprocess.run,
        [*HIVE, "top", "--root", str(root)],
        capture_output=True, text=True, check=False, timeout=50, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 1
    assert "hive top needs a terminal; for one look: hive status" in done.stderr
