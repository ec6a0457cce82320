"""A real `hive up` on a root of its own, and what a test asks of it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from support.proc import processes

from hive_wire.jsonrpc import Peer
from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError
from hive_wire.sockets import connect

T = TypeVar("T")
HIVE = (sys.executable, "-m", "hive_reconciler.app.cli")
HOST_PROCESSES = ("hive_reconciler.app.daemon", "hive_broker", "hive_gateway", "hive_dashboard")
LINK = re.compile(r"http://\S+#\S+")


class Swarm:
    """One root, its `hive up`, and connections to its sockets."""

    program: tuple[str, ...] = HIVE

    def __init__(self, root: Path, *options: str, env: dict[str, str] | None = None) -> None:
        self.root = root
        self.options = options
        self.env = {**os.environ, **(env or {})}
        self.layout = Layout.of(root)
        self.output: list[str] = []
        self.link = ""
        self._up: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self, timeout: float = 60) -> None:
        """Returns when `hive up` printed the login link."""
        self._up = await asyncio.create_subprocess_exec(
            *HIVE, "up", "--root", str(self.root), "--port", "0", *self.options,
            env=self.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        linked = asyncio.Event()
        self._reader = asyncio.create_task(self._read(linked))
        try:
            async with asyncio.timeout(timeout):
                await linked.wait()
        except TimeoutError:
            raise AssertionError("hive up is not ready:\n" + "".join(self.output)) from None

    async def _read(self, linked: asyncio.Event) -> None:
        assert self._up and self._up.stdout
        async for line in self._up.stdout:
            text = line.decode(errors="replace")
            self.output.append(text)
            if found := LINK.search(text):
                self.link = found[0]
                linked.set()
        linked.set()

    async def stop(self, signum: int = signal.SIGINT, timeout: float = 30) -> int:
        """End `hive up` as Ctrl-C does. Its exit status."""
        assert self._up and self._reader
        if self._up.returncode is None:
            self._up.send_signal(signum)
        async with asyncio.timeout(timeout):
            status = await self._up.wait()
            await self._reader
        return status

    async def kill(self) -> None:
        """kill -9 of `hive up`, and of what is left of it, so that no test leaks."""
        if self._up and self._up.returncode is None:
            self._up.kill()
            await self._up.wait()
        await self.cli("down", check=None)
        if self._reader:
            await self._reader

    def pid(self, process: str) -> int:
        """Of one host process: its command line names the module and this root."""
        for p in processes():
            if p.names(process, str(self.root)):
                return p.pid
        raise AssertionError(f"{process} does not run for {self.root}")

    async def lose_up(self) -> None:
        """kill -9 of `hive up` alone: the host processes end by themselves, containers go on."""
        os.kill(self.pid("up"), signal.SIGKILL)

        async def ended() -> bool:
            mine = [p for p in processes() if str(self.root) in p.command]
            return not any(p.names(program) for p in mine for program in HOST_PROCESSES)

        await self.until("the host processes are gone", ended)

    # -- asking ----------------------------------------------------------------

    async def cli(self, *arguments: str, check: int | None = 0) -> str:
        """stdout of `hive ARGUMENTS`; its exit status must be `check`."""
        process = await asyncio.create_subprocess_exec(
            *self.program, *arguments, "--root", str(self.root),
            env=self.env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        if check is not None and process.returncode != check:
            raise AssertionError(
                f"hive {' '.join(arguments)} ended with {process.returncode}, not {check}:\n"
                f"{out.decode()}{err.decode()}"
            )
        return out.decode() + (err.decode() if check not in (0, None) else "")

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self.cli(*arguments, "--json"))

    async def _ask(self, path: Path, method: str, params: dict[str, Any]) -> Any:
        peer: Peer = await connect(path)
        try:
            return await peer.request(method, params, timeout=20)
        finally:
            peer.close()

    async def host(self, method: str, **params: Any) -> Any:
        return await self._ask(self.layout.host_sock, method, params)

    async def broker(self, method: str, **params: Any) -> Any:
        return await self._ask(self.layout.broker_sock, method, params)

    # -- waiting ---------------------------------------------------------------

    async def until(
        self, what: str, look: Callable[[], Awaitable[T | None]], timeout: float = 40
    ) -> T:
        """What `look` returns as soon as that is true. Processes may be away meanwhile."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        if found := await look():
                            return found
                    except (RpcError, OSError, TimeoutError):
                        pass
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never: {what}\n{await self.report()}") from None

    async def ready(self, name: str, timeout: float = 60) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            for agent in (await self.host("status"))["agents"]:
                conditions = {c["type"]: c["status"] for c in agent["conditions"]}
                if agent["name"] == name and conditions.get("Ready") in (True, "True", "true"):
                    return agent
            return None

        return await self.until(f"{name} is ready", look, timeout)

    async def message(
        self, sender: str, to: str, part: str = "", *, kind: str | None = None, after: int = 0,
        timeout: float = 40,
    ) -> dict[str, Any]:  # fmt: skip
        """The first message after id `after` from `sender` to `to` that contains `part`."""

        async def look() -> dict[str, Any] | None:
            for m in (await self.broker("messages", after=after, limit=500))["messages"]:
                if (m["sender"], m["to"]) != (sender, to) or part not in m["body"]:
                    continue
                if kind is None or m["kind"] == kind:
                    return m
            return None

        return await self.until(f"a message {sender} -> {to} with {part!r}", look, timeout)

    async def open_proposal(self, kind: str, timeout: float = 40) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            for p in (await self.host("proposals", state="open", limit=100))["proposals"]:
                if p["kind"] == kind:
                    return p
            return None

        return await self.until(f"an open proposal of kind {kind}", look, timeout)

    async def shown(self, n: int, timeout: float = 60) -> dict[str, Any]:
        """`hive show N --json` once Nix has said what it makes of it, where there is a Nix."""

        async def look() -> dict[str, Any] | None:
            found: dict[str, Any] = await self.json("show", str(n))
            waits = found["build"] is not None and found["build"]["state"] == "running"
            return None if waits else found

        return await self.until(f"proposal {n} is evaluated", look, timeout)

    async def question(self, timeout: float = 40) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            questions = (await self.broker("questions", open=True, limit=10))["questions"]
            return questions[0] if questions else None

        return await self.until("an open question", look, timeout)

    async def report(self) -> str:
        """All that helps to see why a wait failed."""
        parts = ["".join(self.output[-40:])]
        parts += [
            f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
            for log in sorted(self.layout.logs.glob("*.log"))
        ]
        for method in ("messages", "agents"):
            try:
                answer = await self.broker(
                    method, **({"limit": 50} if method == "messages" else {})
                )
                parts.append(f"--- {method}\n{json.dumps(answer, indent=1)[-4000:]}")
            except (RpcError, OSError) as error:
                parts.append(f"--- {method}: {error}")
        return "\n".join(parts)


@asynccontextmanager
async def swarm(root: Path, *options: str, env: dict[str, str] | None = None):
    """A started swarm; everything of it is gone afterwards."""
    it = Swarm(root, *options, env=env)
    try:
        await it.start()
        yield it
    finally:
        await it.kill()
