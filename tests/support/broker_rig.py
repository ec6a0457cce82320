"""A real broker process on a root of its own, and clients for each of its sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hive_wire.jsonrpc import Peer
from hive_wire.paths import Layout
from hive_wire.rpc_errors import RpcError
from hive_wire.sockets import connect

ANSWER_WITHIN = 20.0


async def until(check: Callable[[], Any], what: str, timeout: float = 20.0) -> Any:
    """What `check` gives once it is true; it may be async."""
    try:
        async with asyncio.timeout(timeout):
            while True:
                found = check()
                if isinstance(found, Awaitable):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {timeout:g} s") from None


def agent(uid: str, name: str, **other: Any) -> dict[str, Any]:
    """One RegistryAgent as JSON."""
    return {
        "uid": uid,
        "name": name,
        "role": "agent",
        "state": "running",
        "engine": "rehearsal",
        "description": "",
        "may_send_to": ["everyone"],
        "budget": {"usd_per_day": 100.0, "turns_per_hour": 10_000},
        "network": "none",
        **other,
    }


class Rig:
    """The broker of one root as a process; `env` is added to its environment."""

    def __init__(self, root: Path, env: dict[str, str] | None = None) -> None:
        self.env = os.environ | (env or {})
        self.layout = Layout.of(root)
        self.host: Peer
        self.process: asyncio.subprocess.Process | None = None
        self._open: list[Any] = []

    async def start(self) -> None:
        if self.process is not None:
            await self.process.wait()  # sockets of a broker that is dying still accept
        self.layout.broker.mkdir(parents=True, exist_ok=True)
        with (self.layout.broker / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "hive_broker", "--root", str(self.layout.root)),
                env=self.env,
                stderr=log,
            )
        self.host = await self.client()

    async def client(self, handlers: dict[str, Any] | None = None) -> Peer:
        """One more connection to broker.sock."""
        peer = await connected(self.layout.broker_sock, handlers, self._alive)
        self._open.append(peer)
        return peer

    def _alive(self) -> None:
        assert self.process is not None
        if self.process.returncode is not None:
            raise AssertionError(f"the broker ended:\n{self.log()}")

    def log(self) -> str:
        return (self.layout.broker / "log").read_text()

    async def ask(self, method: str, **params: Any) -> Any:
        return await self.host.request(method, params, timeout=ANSWER_WITHIN)

    async def registry(self, *agents: dict[str, Any], directories: bool = True) -> None:
        for one in agents if directories else ():
            self.layout.agent_run(one["uid"]).mkdir(parents=True, exist_ok=True)
        await self.ask("registry.set", agents=list(agents))

    async def status(self, uid: str) -> dict[str, Any]:
        found = (await self.ask("agents"))["agents"]
        return next(status for status in found if status["uid"] == uid)

    async def events(self, *kinds: str) -> list[dict[str, Any]]:
        """The first thousand of these kinds."""
        return (await self.ask("events", kinds=list(kinds), limit=1000, after=0))["events"]

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            return await self.process.wait()

    async def close(self) -> None:
        for client in self._open:
            client.close()
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def harness(self, uid: str, **hello: Any) -> Harness:
        """A harness that said hello."""
        found = Harness(self.layout.agent_run(uid) / "harness.sock", self._alive)
        self._open.append(found)
        await found.hello(**hello)
        return found

    async def tools(self, uid: str) -> Tools:
        """A plain MCP client on the agent's mcp.sock, past its handshake."""
        found = await Tools.open(self.layout.agent_run(uid) / "mcp.sock")
        self._open.append(found)
        return found


@asynccontextmanager
async def rig(root: Path, env: dict[str, str] | None = None) -> AsyncIterator[Rig]:
    found = Rig(root, env)
    try:
        await found.start()
        yield found
    finally:
        await found.close()


async def connected(
    path: Path,
    handlers: dict[str, Any] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Peer:
    """A connection to `path` as soon as somebody listens there."""
    async with asyncio.timeout(60):
        while True:
            check()
            try:
                return await connect(path, handlers)
            except OSError:
                await asyncio.sleep(0.005)


class Harness:
    """The harness's end of harness.sock, played by the test."""

    def __init__(self, path: Path, check: Callable[[], None] = lambda: None) -> None:
        self.boot = str(uuid.uuid4())
        self.grants: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.asked: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.answers: dict[str, Callable[[Peer, dict[str, Any]], Any]] = {}
        self.welcome: dict[str, Any] = {}
        self.peer: Peer
        self._path = path
        self._check = check

    async def hello(self, **hello: Any) -> dict[str, Any]:
        """Connect anew and say hello; another `boot` is another start of the container."""
        self.boot = hello.pop("boot", self.boot)
        self.peer = await connected(
            self._path,
            {
                "grant": lambda _, params: self.grants.put_nowait(params),
                "interrupt": self._ask("interrupt"),
                "command": self._ask("command"),
                "export": self._ask("export"),
                "login": self._ask("login"),
            },
            self._check,
        )
        self.welcome = await self.ask("hello", boot=self.boot, version="test", **hello)
        return self.welcome

    def _ask(self, method: str) -> Callable[[Peer, dict[str, Any]], Any]:
        def handle(peer: Peer, params: dict[str, Any]) -> Any:
            self.asked.put_nowait((method, params))
            return self.answers.get(method, lambda *_: {})(peer, params)

        return handle

    async def ask(self, method: str, **params: Any) -> Any:
        return await self.peer.request(method, params, timeout=ANSWER_WITHIN)

    async def granted(self, timeout: float = 20.0) -> dict[str, Any]:
        async with asyncio.timeout(timeout):
            return await self.grants.get()

    async def end(self, turn: str, outcome: str = "ok", **other: Any) -> None:
        await self.ask("turn.end", turn=turn, outcome=outcome, **other)

    def close(self) -> None:
        self.peer.close()


class ToolFailed(Exception):
    """The tool answered with an error; the message is what it said."""


class Tools:
    """MCP over the socket, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._last = 0

    @classmethod
    async def open(cls, path: Path) -> Tools:
        await until(path.exists, f"{path} is bound")
        tools = cls(*await asyncio.open_unix_connection(path, limit=4 << 20))
        info = {"name": "test", "version": "1"}
        try:
            await tools.ask(
                "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=info
            )
        except BaseException:
            tools.close()
            raise
        tools.say("notifications/initialized")
        return tools

    def say(self, method: str) -> None:
        self.writer.write(json.dumps({"jsonrpc": "2.0", "method": method}).encode() + b"\n")

    async def ask(self, method: str, **params: Any) -> Any:
        """The result. One question at a time. Raises RpcError."""
        self._last += 1
        question = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params}
        self.writer.write(json.dumps(question).encode() + b"\n")
        async with asyncio.timeout(45):
            while True:
                line = await self.reader.readline()
                if not line:
                    raise ConnectionResetError("mcp.sock closed")
                answer = json.loads(line)
                if answer.get("id") == self._last:
                    break
        if "error" in answer:
            raise RpcError(answer["error"]["code"], answer["error"]["message"])
        return answer["result"]

    async def call(self, tool: str, call: str | None = None, **arguments: Any) -> Any:
        """The tool's answer, parsed. Raises ToolFailed."""
        meta = {} if call is None else {"_meta": {"hive/call": call}}
        result = await self.ask("tools/call", name=tool, arguments=arguments, **meta)
        text = "".join(block["text"] for block in result["content"])
        if result.get("isError"):
            raise ToolFailed(text)
        return json.loads(text)

    def close(self) -> None:
        self.writer.close()
