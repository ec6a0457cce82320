"""hive up: all host processes as children of one, in the foreground or detached."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from hive_wire import dashboard_options
from hive_wire.lock import Lock, Taken
from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError
from hive_wire.sockets import connect

from ..runtime.base import RuntimeFailure
from ..runtime.choose import choose
from .children import Child, Program
from .client import CallFailed
from .commands.common import me
from .console import Console
from .stopping import stop_containers

READY_DEADLINE = 60.0  # seconds
PAGE_DEADLINE = 20.0
SHUTDOWN_DEADLINE = 30.0
DETACHED = "HIVE_UP_READY_FD"
UP_LOG = "up.log"


def up(layout: Layout, options: argparse.Namespace) -> int:
    if options.detach and DETACHED not in os.environ:
        return _detach(layout, options)
    logging.basicConfig(level=logging.ERROR)  # what matters is said by the console
    try:
        choose(options.runtime, layout)
    except RuntimeFailure as error:
        raise CallFailed(error.message) from None
    lock = _take(layout)
    try:
        return asyncio.run(_Up(layout, options).run())
    finally:
        lock.release()


def _take(layout: Layout) -> Lock:
    try:
        new = not layout.root.exists()
        layout.root.mkdir(parents=True, exist_ok=True)
        if new:
            layout.root.chmod(0o755 if not layout.tag else 0o700)
        return Lock(layout.lock)
    except Taken as taken:
        raise CallFailed(
            f"{layout.root} is up already (process {taken.pid or 'unknown'}); "
            f"stop it with: hive down --root {layout.root}, or use another --root"
        ) from None
    except PermissionError:
        raise CallFailed(f"you may not write {layout.root}; use --root DIR, or sudo") from None
    except (FileExistsError, NotADirectoryError):
        raise CallFailed(f"{layout.root} cannot be a directory; use another --root") from None


class _Up:
    def __init__(self, layout: Layout, options: argparse.Namespace) -> None:
        self._layout = layout
        self._options = options
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._ready_fd = os.environ.pop(DETACHED, None)
        layout.make_logs()
        self._children = [
            Child(program, layout.logs / f"{program.name}.log", self._say)
            for program in programs(layout, options)
        ]

    async def run(self) -> int:
        if self._options.rehearse and self._layout.hive_git.exists():
            self._say("this root is not new: --rehearse changes nothing, its hive.toml rules")
        self._layout.make_run()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signalled)
        tasks = [asyncio.create_task(child.run()) for child in self._children]
        try:
            status = await self._until_stopped()
        finally:
            await self._orderly()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return status

    async def _until_stopped(self) -> int:
        ready = asyncio.create_task(self._announce())
        stopped = asyncio.create_task(self._stop.wait())
        console = asyncio.create_task(Console(self._layout, self._say).run())
        try:
            await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if ready.done() and (error := ready.exception()) is not None:
                print(f"hive: {error}", file=sys.stderr)
                return 1
            await stopped
            return 0
        finally:
            for task in (ready, stopped, console):
                task.cancel()
            await asyncio.gather(ready, stopped, console, return_exceptions=True)

    async def _announce(self) -> None:
        """Wait for all processes, then say where the page is. Raises CallFailed."""
        layout = self._layout
        for name, path in (
            ("reconciler", layout.host_sock),
            ("broker", layout.broker_sock),
            ("gateway", layout.gateway_sock),
        ):
            if not await _listens(path, READY_DEADLINE):
                log = layout.logs / f"{name}.log"
                raise CallFailed(f"the {name} did not come up; see {log}")
        if not await _listens(layout.dashboard_sock, PAGE_DEADLINE):
            log = layout.logs / "dashboard.log"
            self._say(f"the page is not up yet, see {log}; then: hive login")
        else:
            await self._invite()
        if self._ready_fd is not None:
            os.write(int(self._ready_fd), b"ready\n")
            os.close(int(self._ready_fd))

    async def _invite(self) -> None:
        if _in_journal():
            self._say("hyperhive is up; for a link to the page: hive login")
            return
        peer = await connect(self._layout.dashboard_sock)
        try:
            params = {"user": me(), "view_only": False}
            link = (await peer.request("login.issue", params, timeout=10))["url"]
        except (RpcError, TimeoutError) as error:
            self._say(f"no login link: {error}; try hive login")
        else:
            print(f"\nhyperhive is up. Log in within 2 minutes:\n\n    {link}\n", flush=True)
            if self._options.rehearse:
                self._say(f"it rehearses; scripts of your own go into {self._layout.rehearsal}")
        finally:
            peer.close()

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _orderly(self) -> None:
        """Containers first, by the reconciler if it can; then our children."""
        self._say("stopping everything (again Ctrl-C: do not wait)")
        stopping = asyncio.create_task(self._stop_containers())
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({stopping, hurried}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            self._say("not waiting; containers may go on: hive down stops them")
        for task in (stopping, hurried):
            task.cancel()
        await asyncio.gather(stopping, hurried, return_exceptions=True)
        await asyncio.gather(*(child.stop() for child in self._children))
        self._say("stopped")

    async def _stop_containers(self) -> None:
        try:
            peer = await connect(self._layout.host_sock)
            try:
                by = {"by": me()}
                answer = await peer.request("shutdown", by, timeout=SHUTDOWN_DEADLINE)
                names = answer["stopped"]
            finally:
                peer.close()
        except (OSError, RpcError, TimeoutError) as error:
            self._say(f"the reconciler does not help ({error}): stopping containers without it")
            try:
                names = await stop_containers(self._layout)
            except RuntimeFailure as failure:
                self._say(f"containers may go on: {failure.message}; hive down tries again")
                return
        self._say(f"stopped {', '.join(names)}" if names else "no container was running")

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def programs(layout: Layout, options: argparse.Namespace) -> list[Program]:
    root = ("--root", str(layout.root))
    python = (sys.executable, "-m")
    rehearse = ("--rehearse",) if options.rehearse else ()
    reconciler = ("hive_reconciler.app.daemon", *root, "--runtime", options.runtime, *rehearse)
    page = dashboard_options.arguments(options)
    return [
        Program("reconciler", (*python, *reconciler)),
        Program("broker", (*python, "hive_broker", *root)),
        Program("gateway", (*python, "hive_gateway", *root)),
        Program("dashboard", (*python, "hive_dashboard", *root, *page)),
    ]


def _in_journal() -> bool:
    """Whether systemd keeps what we print: more people read that than may log in."""
    out = os.fstat(sys.stdout.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{out.st_dev}:{out.st_ino}"


async def _listens(path: Path, seconds: float) -> bool:
    """Whether somebody accepts connections at `path` within so many seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                with contextlib.suppress(OSError):
                    (await connect(path)).close()
                    return True
                await asyncio.sleep(0.05)
    return False


def _detach(layout: Layout, options: argparse.Namespace) -> int:
    """Start ourselves in the background and return when that one is ready, or has failed."""
    _take(layout).release()  # a clear refusal now, not in a log
    layout.make_logs()
    log = layout.logs / UP_LOG
    reading, writing = os.pipe()
    argv = [sys.executable, "-m", "hive_reconciler.app.cli", "up", "--root", str(layout.root)]
    argv += ["--runtime", options.runtime, *dashboard_options.arguments(options), "--detach"]
    argv += ["--rehearse"] * options.rehearse
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(writing,),
            env={**os.environ, DETACHED: str(writing)},
        )
    os.close(writing)
    select.select([reading], [], [], READY_DEADLINE + PAGE_DEADLINE + 10)
    ready = os.read(reading, 16) == b"ready\n"
    os.close(reading)
    sys.stdout.write(log.read_text(errors="replace"))
    if not ready:
        raise CallFailed(f"it did not come up; {log} has the cause")
    print(f"it goes on as process {process.pid}; stop it with: hive down --root {layout.root}")
    return 0
